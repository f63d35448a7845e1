"""Raw parameters, activations and variations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gvf_core.gaussians import MIN_SCALE, Gaussians, Splats, VariationField


def some_splats(count: int = 40) -> Splats:
    generator = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    quaternions = torch.randn(count, 4, generator=generator)
    return Splats(
        means=uniform(-0.5, 0.5, count, 3),
        quaternions=quaternions / quaternions.norm(dim=1, keepdim=True),
        scales=uniform(0.001, 0.2, count, 3),
        opacities=uniform(0.01, 0.99, count),
        colors=uniform(0, 1, count, 3),
    )


def zeros(count: int = 1) -> Gaussians:
    return Gaussians(*(torch.zeros(count, *tail) for tail in ([3], [3], [4], [3], [])))


def test_raw_zero_means_a_small_grey_faint_unrotated_gaussian():
    splats = zeros().activate()
    assert splats.scales[0].tolist() == pytest.approx([math.hypot(0.004, MIN_SCALE)] * 3, rel=1e-5)
    assert splats.opacities.item() == pytest.approx(0.1)
    assert splats.colors[0].tolist() == pytest.approx([0.5] * 3)
    assert splats.quaternions[0].tolist() == [1, 0, 0, 0]


def test_activating_inverts_from_splats():
    splats = some_splats()
    for actual, expected in zip(Gaussians.from_splats(splats).activate(), splats, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-3)


@given(st.floats(0, 10), st.floats(0, 1), st.floats(-1, 2))
def test_every_scale_opacity_and_colour_has_a_finite_raw_value(scale, opacity, color):
    splats = some_splats(1)._replace(
        scales=torch.full((1, 3), scale), opacities=torch.tensor([opacity]), colors=torch.full((1, 3), color)
    )
    gaussians = Gaussians.from_splats(splats)
    again = gaussians.activate()
    for field in (gaussians.scales, gaussians.opacities, gaussians.colors, *again):
        assert field.isfinite().all()
    assert again.scales[0, 0].item() == pytest.approx(max(scale, MIN_SCALE), rel=1e-3)
    assert again.opacities.item() == pytest.approx(opacity, abs=2e-6)
    assert again.colors[0, 0].item() == pytest.approx(max(color, 0), abs=1e-6)


def test_no_variation_and_a_variation_of_zero_are_the_same():
    gaussians = Gaussians.from_splats(some_splats())
    for plain, varied in zip(gaussians.activate(), gaussians.activate(torch.zeros(40, 14)), strict=True):
        assert torch.equal(plain, varied)


@pytest.mark.parametrize(
    ("channels", "changed"),
    [
        (VariationField.MEANS, "means"),
        (VariationField.SCALES, "scales"),
        (VariationField.ROTATIONS, "quaternions"),
        (VariationField.COLORS, "colors"),
        (VariationField.OPACITY, "opacities"),
    ],
)
def test_each_channel_of_a_variation_changes_its_own_field_only(channels, changed):
    gaussians = Gaussians.from_splats(some_splats())
    deltas = torch.zeros(40, 14)
    deltas[:, channels] = torch.tensor(0.3)
    before, after = gaussians.activate(), gaussians.activate(deltas)
    assert [name for name in Splats._fields if not torch.equal(getattr(before, name), getattr(after, name))] == [
        changed
    ]


def test_a_variation_of_many_frames_gives_splats_of_many_frames():
    splats = Gaussians.from_splats(some_splats()).activate(torch.zeros(5, 40, 14))
    assert [tuple(field.shape) for field in splats] == [(5, 40, 3), (5, 40, 4), (5, 40, 3), (5, 40), (5, 40, 3)]


def test_the_vector_of_the_networks_is_position_raw_colour_opacity_scale_rotation():
    gaussians = Gaussians.from_splats(some_splats())
    splats, vector = gaussians.activate(), gaussians.to_vector()
    assert vector.shape == (40, 14)
    assert torch.equal(vector[:, :3], splats.means)
    assert torch.equal(vector[:, 3:6], gaussians.colors)
    assert torch.equal(vector[:, 6], splats.opacities)
    assert torch.equal(vector[:, 7:10], splats.scales)
    assert torch.equal(vector[:, 10:], splats.quaternions)


def test_length_is_the_number_of_gaussians():
    assert len(zeros(7)) == 7

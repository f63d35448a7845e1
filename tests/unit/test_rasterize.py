"""What a picture of Gaussians is, and that the CPU backends agree on it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gvf_core.bench.rasterizer import surface_splats
from gvf_core.errors import RenderError
from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera, Rendering, orbit_camera, rasterize
from gvf_core.rendering.limits import LIMITS

OFF_CENTER = Camera(orbit_camera(40, 25).world_to_camera, (0.9, 1.4, 0.62, 0.41), width=120, height=84)
"""Not square, with a principal point that is not in the middle."""


def one_splat(**changes) -> Splats:
    """A round Gaussian at the origin: 2 units before the front camera, standard deviation 0.1."""
    fields = {
        "means": torch.zeros(1, 3),
        "quaternions": torch.tensor([[1.0, 0, 0, 0]]),
        "scales": torch.full((1, 3), 0.1),
        "opacities": torch.tensor([0.8]),
        "colors": torch.tensor([[0.2, 0.4, 0.6]]),
    }
    return Splats(**(fields | changes))


def stack(*splats: Splats) -> Splats:
    return Splats(*(torch.cat(fields) for fields in zip(*splats, strict=True)))


def double(splats: Splats) -> Splats:
    return Splats(*(field.double() for field in splats))


def gradients(splats: Splats, camera: Camera, backend: str) -> Splats:
    leaves = Splats(*(field.clone().requires_grad_() for field in splats))
    rendering = rasterize(leaves, camera, backend=backend)
    weights = torch.linspace(-1, 1, rendering.color.numel()).view_as(rendering.color)
    return Splats(*torch.autograd.grad((rendering.color * weights).sum() + rendering.alpha.square().sum(), leaves))


def assert_same_picture(actual: Rendering, expected: Rendering) -> None:
    """Equal within 1e-4, but for single pixels where rounding puts an alpha on the other side of the threshold."""
    for value, reference in zip(actual, expected, strict=True):
        error = (value - reference).abs().view(*expected.alpha.shape, -1).amax(-1)
        assert (error > 1e-4).sum() <= 2
        assert error.max() < LIMITS.min_alpha


backends = pytest.mark.parametrize("backend", ["numba", "torch"])


@pytest.mark.parametrize("antialiased", [True, False])
@pytest.mark.parametrize("filter_2d", [0.1, 0.3])
def test_backends_agree_on_a_surface_of_flat_gaussians(antialiased, filter_2d):
    splats, options = surface_splats(1500), {"antialiased": antialiased, "filter_2d": filter_2d}
    numba = rasterize(splats, OFF_CENTER, backend="numba", **options)
    single = rasterize(splats, OFF_CENTER, backend="torch", **options)
    reference = rasterize(double(splats), OFF_CENTER, backend="torch", **options)
    assert reference.alpha.max() > 0.99 and reference.alpha.min() == 0
    assert_same_picture(numba, reference)
    assert_same_picture(single, reference)


@pytest.mark.parametrize("filter_2d", [0.0, 1e-3, 1e-2])
def test_backends_agree_where_footprints_are_far_thinner_than_a_pixel(filter_2d):
    generator = torch.Generator().manual_seed(0)
    quaternions = torch.nn.functional.normalize(torch.randn(500, 4, generator=generator), dim=-1)
    scales = 10 ** (torch.rand(500, 3, generator=generator) * 4 - 5)
    opacities = torch.rand(500, generator=generator)
    splats = Splats(torch.rand(500, 3, generator=generator) - 0.5, quaternions, scales, opacities, torch.ones(500, 3))
    numba = rasterize(splats, OFF_CENTER, backend="numba", filter_2d=filter_2d)
    reference = rasterize(splats, OFF_CENTER, backend="torch", filter_2d=filter_2d)
    # Single precision knows the place of a line only so well.
    assert (numba.color - reference.color).abs().max() < 0.01


EDGE_CASES = {
    "none": {},
    "zero quaternion": {"quaternions": [0.0, 0, 0, 0]},
    "unnormalised quaternion": {"quaternions": [3.0, -40, 2, 10]},
    "one zero scale": {"scales": [0.2, 0.1, 0.0]},
    "all scales zero": {"scales": [0.0, 0, 0]},
    "huge": {"scales": [1e3, 1e3, 1e3]},
    "behind the camera": {"means": [0.0, -5, 0]},
    "at the camera": {"means": [0.0, -2, 0]},
    "far outside the picture": {"means": [60.0, 1, 0]},
    "transparent": {"opacities": 0.0},
    "opaque": {"opacities": 1.0},
    "mean not a number": {"means": [math.nan, 0, 0]},
    "mean infinite": {"means": [0, math.inf, 0]},
    "scale not a number": {"scales": [0.1, math.nan, 0.1]},
    "scale infinite": {"scales": [0.1, math.inf, 0.1]},
    "quaternion not a number": {"quaternions": [1, math.nan, 0, 0]},
    "opacity not a number": {"opacities": math.nan},
}


@st.composite
def scenes(draw) -> tuple[Splats, Camera]:
    """A few Gaussians of all sizes about the origin, some of them odd, before a small camera."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    odd = draw(st.lists(st.sampled_from(sorted(EDGE_CASES)), max_size=4))
    count = draw(st.integers(len(odd), 12))
    splats = Splats(
        means=0.4 * torch.randn(count, 3, generator=generator),
        quaternions=torch.randn(count, 4, generator=generator),
        scales=0.15 * torch.exp(torch.randn(count, 3, generator=generator)),
        opacities=torch.rand(count, generator=generator),
        colors=torch.rand(count, 3, generator=generator),
    )
    for index, case in enumerate(odd):
        for name, value in EDGE_CASES[case].items():
            getattr(splats, name)[index] = torch.tensor(value)
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    center = draw(st.tuples(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2)))
    return splats, Camera(orbit_camera(0, 10).world_to_camera, (1.1, 0.9, *center), width, height)


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_backends_agree_on_any_scene_and_all_is_finite(scene):
    splats, camera = scene
    numba = rasterize(splats, camera, backend="numba")
    single = rasterize(splats, camera, backend="torch")
    reference = rasterize(double(splats), camera, backend="torch")
    for rendering in (numba, single):
        assert torch.isfinite(rendering.color).all() and torch.isfinite(rendering.alpha).all()
        assert_same_picture(rendering, reference)
    for backend in ("numba", "torch"):
        for field in gradients(splats, camera, backend):
            assert torch.isfinite(field).all()


@backends
@pytest.mark.parametrize("case", sorted(name for name in EDGE_CASES if "not a number" in name or "infinite" in name))
def test_a_gaussian_that_is_not_finite_changes_nothing_and_gets_no_gradient(case, backend):
    good = one_splat()
    bad = one_splat(**{name: torch.tensor([value]) for name, value in EDGE_CASES[case].items()})
    camera = orbit_camera(0, 0, size=16)
    alone = rasterize(good, camera, backend=backend)
    together = rasterize(stack(bad, good), camera, backend=backend)
    assert torch.equal(alone.color, together.color)
    assert torch.equal(alone.alpha, together.alpha)
    for mixed, expected in zip(
        gradients(stack(bad, good), camera, backend), gradients(good, camera, backend), strict=True
    ):
        assert (mixed[0] == 0).all()
        assert torch.equal(mixed[1:], expected)


@backends
@pytest.mark.parametrize("count", [0, 1])
def test_nothing_in_view_gives_an_empty_picture_and_zero_gradients(count, backend):
    behind = Splats(*(field[:count] for field in one_splat(means=torch.tensor([[0.0, -9, 0]]))))
    camera = orbit_camera(0, 0, size=16)
    rendering = rasterize(behind, camera, backend=backend)
    assert (rendering.color == 0).all() and (rendering.alpha == 0).all()
    for leaf, gradient in zip(behind, gradients(behind, camera, backend), strict=True):
        assert gradient.shape == leaf.shape and (gradient == 0).all()


@backends
def test_a_round_gaussian_has_the_falloff_of_its_projected_size(backend):
    camera = Camera(orbit_camera(0, 0, radius=2).world_to_camera, (1, 1, 0.5, 0.5), 41, 41)
    alpha = rasterize(one_splat(), camera, backend=backend, antialiased=False, filter_2d=0.0).alpha
    sigma = 41 * 0.1 / 2
    offset = torch.arange(41) - 20
    expected = 0.8 * torch.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * sigma**2))
    expected = torch.where(expected >= 1 / 255, expected, 0)
    assert alpha == pytest.approx(expected, abs=2e-6)


@backends
def test_the_filter_widens_a_small_gaussian_without_making_it_brighter(backend):
    camera = Camera(orbit_camera(0, 0, radius=2).world_to_camera, (1, 1, 0.5, 0.5), 32, 32)
    one_pixel_wide = one_splat(scales=torch.full((1, 3), 2 / 32))

    def brightness(filter_2d: float, antialiased: bool) -> float:
        options = {"filter_2d": filter_2d, "antialiased": antialiased}
        return rasterize(one_pixel_wide, camera, backend=backend, **options).alpha.sum().item()

    sharp = brightness(0.0, antialiased=True)
    assert brightness(1.0, antialiased=True) == pytest.approx(sharp, rel=0.03)
    # Twice the variance on both axes is twice the area.
    assert brightness(1.0, antialiased=False) == pytest.approx(2 * sharp, rel=0.03)


@backends
def test_the_nearer_gaussian_covers_the_farther_whatever_their_order(backend):
    near = one_splat(means=torch.tensor([[0.0, -0.5, 0]]), colors=torch.tensor([[1.0, 0, 0]]))
    far = one_splat(means=torch.tensor([[0.0, 0.5, 0]]), colors=torch.tensor([[0.0, 1, 0]]))
    camera = orbit_camera(0, 0, size=17)
    pixels = [
        rasterize(stack(*order), camera, backend=backend, filter_2d=0.0).color[8, 8]
        for order in ((near, far), (far, near))
    ]
    assert torch.equal(*pixels)
    assert pixels[0] == pytest.approx(torch.tensor([0.8, 0.2 * 0.8, 0]), abs=1e-5)


@backends
@pytest.mark.parametrize("background", [(0.1, 0.5, 1.0), torch.linspace(0, 1, 84 * 120 * 3).view(84, 120, 3)])
def test_the_background_shows_where_the_gaussians_leave_off(backend, background):
    splats = surface_splats(500)
    color, alpha = rasterize(splats, OFF_CENTER, backend=backend)
    over = rasterize(splats, OFF_CENTER, backend=backend, background=background)
    assert torch.equal(over.alpha, alpha)
    assert over.color == pytest.approx(color + (1 - alpha)[..., None] * torch.as_tensor(background), abs=1e-6)


def test_without_gradients_the_picture_is_the_same_and_has_no_history():
    splats = Splats(*(field.requires_grad_() for field in surface_splats(500)))
    recorded = rasterize(splats, OFF_CENTER)
    with torch.no_grad():
        plain = rasterize(splats, OFF_CENTER)
    assert recorded.color.requires_grad and not plain.color.requires_grad
    assert torch.equal(recorded.color, plain.color)
    assert torch.equal(recorded.alpha, plain.alpha)


def test_fields_need_not_be_contiguous():
    splats = surface_splats(200)
    strided = Splats(*(torch.stack([field, field], dim=-1)[..., 0] for field in splats))
    assert torch.equal(rasterize(strided, OFF_CENTER).color, rasterize(splats, OFF_CENTER).color)


def test_auto_renders_float64_too():
    assert rasterize(double(surface_splats(50)), OFF_CENTER).color.dtype == torch.float64


def test_a_camera_matrix_of_any_float_type_will_do():
    camera = Camera(OFF_CENTER.world_to_camera.astype(np.float32), OFF_CENTER.intrinsics, 120, 84)
    splats = surface_splats(200)
    assert rasterize(splats, camera).color == pytest.approx(rasterize(splats, OFF_CENTER).color, abs=1e-4)


@pytest.mark.parametrize(
    ("splats", "options", "names"),
    [
        (one_splat(means=torch.zeros(2, 1, 3)), {}, r"\[2, 1, 3\].*one frame"),
        (one_splat(scales=torch.zeros(1, 1)), {}, r"scales.*\[1, 1\]"),
        (one_splat(opacities=torch.zeros(1, 1)), {}, r"opacities.*\[1, 1\]"),
        (one_splat(colors=torch.zeros(1, 3, dtype=torch.float64)), {}, "colors.*float64"),
        (Splats(*(field.half() for field in one_splat())), {}, "float16"),
        (double(one_splat()), {"backend": "numba"}, "numba.*float64"),
        (one_splat(), {"backend": "gsplat"}, "gsplat.*cuda"),
        (one_splat(), {"backend": "opengl"}, "opengl.*torch"),
        (one_splat(), {"filter_2d": -1.0}, "-1"),
        (one_splat(), {"filter_2d": math.nan}, "nan"),
        (one_splat(), {"background": (1.0, 0.0)}, r"\[2\]"),
    ],
)
def test_what_cannot_be_rendered_is_refused_by_name(splats, options, names):
    with pytest.raises(RenderError, match=names):
        rasterize(splats, OFF_CENTER, **options)

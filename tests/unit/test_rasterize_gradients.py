"""The derivative of a picture against float64 finite differences and float64 autograd."""

import pytest
import torch

from gvf_core.bench.rasterizer import surface_splats
from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera, orbit_camera, rasterize

CAMERA = Camera(orbit_camera(40, 25).world_to_camera, (0.9, 1.4, 0.62, 0.41), width=72, height=60)
fields = pytest.mark.parametrize("field", Splats._fields)


def loss(splats: Splats, camera: Camera = CAMERA, **options) -> torch.Tensor:
    """Something smooth that depends on every pixel of colour and alpha."""
    rendering = rasterize(splats, camera, background=(0.3, 0.6, 0.1), **options)
    weights = torch.linspace(-1, 1, rendering.color.numel(), dtype=rendering.color.dtype).view_as(rendering.color)
    return ((rendering.color - 0.4).square() * weights).sum() + (rendering.alpha * weights[..., 0]).sum()


def gradients(splats: Splats, **options) -> Splats:
    leaves = Splats(*(field.clone().requires_grad_() for field in splats))
    return Splats(*torch.autograd.grad(loss(leaves, **options), leaves))


def scattered_splats(count: int, seed: int) -> Splats:
    """Gaussians of all shapes and directions, with quaternions that are not normalised."""
    generator = torch.Generator().manual_seed(seed)
    return Splats(
        means=0.3 * torch.randn(count, 3, generator=generator),
        quaternions=2 * torch.randn(count, 4, generator=generator),
        scales=0.06 * torch.exp(0.7 * torch.randn(count, 3, generator=generator)),
        opacities=torch.rand(count, generator=generator),
        colors=torch.rand(count, 3, generator=generator),
    )


def in_float64(splats: Splats) -> Splats:
    return Splats(*(field.double() for field in splats))


@pytest.fixture(scope="module", params=[True, False], ids=["antialiased", "classic"])
def reference(request) -> tuple[Splats, Splats, dict]:
    """Float64 splats, their gradients by the torch backend, and the options of the render."""
    options = {"backend": "torch", "antialiased": request.param}
    splats = in_float64(surface_splats(300))
    return splats, gradients(splats, **options), options


@fields
def test_torch_gradients_equal_finite_differences(reference, field):
    splats, expected, options = reference
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(getattr(splats, field).shape, generator=generator, dtype=torch.float64)
    direction *= getattr(splats, field).abs().mean()
    # From 1e-5 on, Gaussians that step over the alpha threshold swamp the difference.
    step = 1e-7
    ahead, behind = (
        loss(splats._replace(**{field: getattr(splats, field) + signed * direction}), **options)
        for signed in (step, -step)
    )
    slope = (getattr(expected, field) * direction).sum()
    assert slope.item() == pytest.approx((ahead - behind).item() / (2 * step), rel=1e-4, abs=1e-4)


BESIDE = Camera(orbit_camera(0, 0, radius=2).world_to_camera, (2.5, 2.5, 0.5, 0.5), width=40, height=32)
"""So narrow that many Gaussians are beside the frustum, where the point of linearisation is clamped."""


def scenes() -> dict[str, tuple[Splats, Camera, bool]]:
    """Gaussians, a camera, and whether to render antialiased."""
    scattered = scattered_splats(60, seed=5)
    large = scattered._replace(means=scattered.means * 2, scales=scattered.scales * 6)
    return {
        "surface": (surface_splats(1500), CAMERA, True),
        "surface, classic": (surface_splats(1500), CAMERA, False),
        "scattered": (scattered_splats(200, seed=3), CAMERA, True),
        "scattered, classic": (scattered_splats(200, seed=3), CAMERA, False),
        "beside the frustum": (large, BESIDE, True),
    }


@pytest.fixture(scope="module", params=scenes())
def both(request) -> tuple[Splats, Splats]:
    """Gradients of one scene by numba, and by torch in float64."""
    splats, camera, antialiased = scenes()[request.param]
    options = {"camera": camera, "antialiased": antialiased}
    return gradients(splats, backend="numba", **options), gradients(in_float64(splats), backend="torch", **options)


@fields
def test_numba_gradients_equal_float64_gradients(both, field):
    actual, expected = (getattr(result, field) for result in both)
    # Usually 1e-5; one alpha that rounds over the threshold makes 5e-4.
    assert (actual - expected).norm() < 3e-3 * expected.norm()


def test_no_gradient_flows_through_clamped_alpha():
    camera = orbit_camera(0, 0, size=1)
    flat = Splats(
        means=torch.zeros(1, 3),
        quaternions=torch.tensor([[1.0, 0, 0, 0]]),
        scales=torch.ones(1, 3),
        opacities=torch.ones(1),
        colors=torch.full((1, 3), 0.5),
    )
    result = gradients(flat, camera=camera, backend="numba", antialiased=False)
    assert (result.opacities == 0).all() and (result.scales == 0).all() and (result.means == 0).all()
    assert result.colors.abs().sum() > 0


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_background_gets_gradients(backend):
    background = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    rendering = rasterize(surface_splats(300), CAMERA, background=background, backend=backend)
    (gradient,) = torch.autograd.grad(rendering.color.sum(), background)
    assert gradient == pytest.approx((1 - rendering.alpha).sum().expand(3), rel=1e-5)


def test_a_field_that_changed_before_backward_is_noticed():
    leaves = Splats(*(field.requires_grad_() for field in surface_splats(100)))
    result = loss(leaves, backend="numba")
    with torch.no_grad():
        leaves.means.add_(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()

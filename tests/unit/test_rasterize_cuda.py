"""gsplat on a GPU against numba on the CPU."""

import pytest
import torch

from gvf_core.bench.rasterizer import surface_splats
from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera, orbit_camera, rasterize

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")

CAMERA = Camera(orbit_camera(40, 25).world_to_camera, (0.9, 1.4, 0.62, 0.41), width=120, height=84)


def rendered(splats: Splats, device: str, backend: str):
    leaves = Splats(*(field.detach().to(device).requires_grad_() for field in splats))
    rendering = rasterize(leaves, CAMERA, background=(0.2, 0.3, 0.4), backend=backend)
    gradients = torch.autograd.grad(rendering.color.square().sum() + rendering.alpha.sum(), leaves)
    return [value.detach().cpu() for value in (*rendering, *gradients)]


@pytest.mark.parametrize(("device", "backend"), [("cuda", "gsplat"), ("cuda", "torch")])
def test_the_gpu_shows_the_same_picture_and_gradients_as_the_cpu(device, backend):
    if backend == "gsplat":
        pytest.importorskip("gsplat", reason="gsplat is not installed")
    splats = surface_splats(3000)
    color, alpha, *gradients = rendered(splats, device, backend)
    expected_color, expected_alpha, *expected_gradients = rendered(splats, "cpu", "numba")
    assert (color - expected_color).abs().max() < 1e-4
    assert (alpha - expected_alpha).abs().max() < 1e-4
    for actual, expected in zip(gradients, expected_gradients, strict=True):
        assert (actual - expected).norm() < 1e-2 * expected.norm()

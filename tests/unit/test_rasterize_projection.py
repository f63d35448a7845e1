"""The projection against gsplat's own torch code, which runs without a GPU."""

import pytest
import torch

from gvf_core.bench.rasterizer import surface_splats
from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera, orbit_camera
from gvf_core.rendering.projection import project

FILTER_2D = 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_footprints_equal_those_of_gsplat(dtype):
    reference = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed")
    camera = Camera(orbit_camera(40, 25).world_to_camera, (0.9, 1.4, 0.62, 0.41), width=240, height=180)
    splats = Splats(*(field.to(dtype) for field in surface_splats(2000)))
    fx, fy, cx, cy = camera.pixel_intrinsics
    covariances, _ = reference._quat_scale_to_covar_preci(splats.quaternions, splats.scales, True, False)
    _, centers, depths, conics, compensations = reference._fully_fused_projection(
        splats.means,
        covariances,
        torch.as_tensor(camera.world_to_camera, dtype=dtype)[None],
        torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]], dtype=dtype),
        camera.width,
        camera.height,
        eps2d=FILTER_2D,
        calc_compensations=True,
    )
    footprints = project(splats, camera, filter_2d=FILTER_2D, antialiased=True)
    seen = footprints.indices
    assert len(seen) > 1000
    assert (depths[0, seen].diff() >= 0).all()
    # In float32 gsplat's determinant of a thin footprint loses digits that the cross product here keeps.
    conic_error, opacity_error = (1e-3, 2e-3) if dtype == torch.float32 else (1e-9, 1e-9)
    assert footprints.centers == pytest.approx(centers[0, seen], abs=1e-4)
    assert ((footprints.conics - conics[0, seen]).norm(dim=-1) < conic_error * conics[0, seen].norm(dim=-1)).all()
    assert footprints.opacities == pytest.approx((splats.opacities * compensations[0])[seen], abs=opacity_error)


def test_only_gaussians_that_cannot_be_seen_are_left_out():
    camera = orbit_camera(0, 0, size=64)
    splats = surface_splats(400)
    splats.means[:100] += torch.tensor([0.0, -10.0, 0.0])
    splats.means[100:200] += torch.tensor([20.0, 0.0, 0.0])
    splats.opacities[200:300] = 0.003
    seen = project(splats, camera, filter_2d=FILTER_2D, antialiased=False).indices
    assert sorted(seen.tolist()) == list(range(300, 400))

"""Cameras, alignment, voxel features and what goes with them give the official numbers."""

import math
import re

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from gvf_core.canonical.voxel_features import FeatureMean, gather_features, voxel_centers
from gvf_core.evaluation.image_metrics import peak_signal_to_noise
from gvf_core.gaussians import Gaussians, Splats
from gvf_core.geometry.low_discrepancy import hammersley, sphere_hammersley
from gvf_core.models.voxels import coarsen
from gvf_core.rendering import camera_from_blender, orbit_camera
from gvf_core.training.losses import structural_similarity
from gvf_core.training.targets import on_white
from tests.golden.golden_case import assert_equal_to, load_case


def test_orbit_cameras():
    case = load_case("cameras_misc")
    config = case.config
    xyz = case["in.xyz"].double().numpy()
    for index, azimuth in enumerate(case["in.azimuth_deg"].tolist()):
        camera = orbit_camera(azimuth, config["elevation"], config["radius"], config["fov_deg"], size=512)
        assert_equal_to(torch.from_numpy(camera.world_to_camera), case["out.extrinsics"][index], 1e-5, "extrinsics")
        fx, fy, cx, cy = camera.intrinsics
        assert_equal_to(torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), case["out.intrinsics"], 1e-5, "intrinsics")
        from_blender = camera_from_blender(case["out.c2w_opengl"][index].double().numpy(), config["fov_deg"], 512)
        np.testing.assert_allclose(from_blender.world_to_camera, camera.world_to_camera, atol=1e-5)
        pixels, depth = camera.project(xyz)
        assert_equal_to(torch.from_numpy(pixels / 512), case["out.uv"][index], 1e-5, "uv")
        assert_equal_to(torch.from_numpy(depth), case["out.cam_xyz"][index, :, 2], 1e-5, "depth")


def test_alignment_turns_positions_and_rotations():
    case = load_case("cameras_misc")
    count = len(case["in.xyz"])
    gaussians = Gaussians.from_splats(
        Splats(
            means=case["in.xyz"],
            quaternions=case["in.quat_wxyz"],
            scales=torch.full((count, 3), 0.1),
            opacities=torch.full((count,), 0.5),
            colors=torch.zeros(count, 3),
        )
    )
    half = -math.radians(case["in.align_best_azimuth"].item()) / 2
    turned = gaussians.rotated(torch.tensor([math.cos(half), 0, 0, math.sin(half)])).activate()
    assert_equal_to(turned.means, case["out.align_xyz"], 1e-5, "align_xyz")
    matrices = Rotation.from_quat(turned.quaternions.numpy()[:, [1, 2, 3, 0]]).as_matrix()
    assert_equal_to(torch.from_numpy(matrices), case["out.align_rotmat"], 1e-5, "align_rotmat")
    positive = torch.where(turned.quaternions[:, :1] < 0, -turned.quaternions, turned.quaternions)
    assert_equal_to(positive, case["out.align_quat_positive_w"], 1e-5, "align_quat_positive_w")


def test_low_discrepancy_points():
    case = load_case("cameras_misc")
    found = 0
    for name in case.tensors:
        if match := re.fullmatch(r"out\.hammersley(\d)_(\d+)", name):
            points = hammersley(int(match[2]), int(match[1]))
        elif match := re.fullmatch(r"out\.sphere_hammersley_(\d+)_off([\d.]+)_([\d.]+)", name):
            points = sphere_hammersley(int(match[1]), (float(match[2]), float(match[3])))
        else:
            continue
        assert_equal_to(torch.from_numpy(points), case[name], 1e-6, name)
        found += 1
    assert found >= 2


def test_pictures():
    case = load_case("cameras_misc")
    a, b = case["in.img1"], case["in.img2"]
    assert_equal_to(structural_similarity(a, b), case["out.ssim"], 1e-5, "ssim")
    assert_equal_to(peak_signal_to_noise(a, b)[:, None], case["out.psnr"], 1e-5, "psnr")
    white = torch.from_numpy(on_white(case["in.rgba_u8"].numpy())).permute(2, 0, 1)
    assert_equal_to(white, case["out.white_composite_blurred_alpha"], 1e-5, "white composite")


def test_coarser_grids():
    case = load_case("cameras_misc")
    grid = coarsen(case["in.ds_coords"])
    assert torch.equal(grid.coordinates, case["out.ds_coords"])
    assert_equal_to(grid.pool(case["in.ds_feats"]), case["out.ds_feats"], 1e-5, "pooled features")


def test_voxel_features_from_views():
    case = load_case("dinov2_voxel_aggregation")
    leading = 1 + case.config["num_register_tokens"]
    tokens = case["in.tokens"][:, leading:]
    assert tokens.shape[1] == case.config["patch_grid"] ** 2
    fov = math.degrees(case["in.fov"].item())
    size = 14 * case.config["patch_grid"]
    cameras = [camera_from_blender(pose.double().numpy(), fov, size) for pose in case["in.c2w_blender"]]
    positions = voxel_centers(case["in.indices"])
    for index, camera in enumerate(cameras):
        pixels, _ = camera.project(positions.double().numpy())
        assert_equal_to(torch.from_numpy(2 * pixels / size - 1), case["mid.uv_ndc"][index], 1e-5, "uv")
    for index, expected in enumerate(case["out.per_view"]):
        assert_equal_to(gather_features(tokens[index], cameras[index], positions), expected, 1e-5, "one view")
    mean = FeatureMean(positions)
    for view, camera in zip(tokens, cameras, strict=True):
        mean.add(view, camera)
    features = mean.result()
    assert_equal_to(features, case["out.feats"], 1e-5, "mean")
    assert_equal_to(features.half(), case["out.feats_fp16"], 1e-3, "half precision")

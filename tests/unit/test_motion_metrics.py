"""How far a motion is from the true one, and what is made of the truth."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gvf_core.errors import CaptureError, FileFormatError, SettingsError
from gvf_core.evaluation.clip_choice import AnimatedAsset, ClipChoice, drawn_clips, find_assets, named_clips
from gvf_core.evaluation.motion_metrics import (
    at_rest_depth,
    best_rigid_motion,
    edge_distortion,
    jerk,
    mesh_edges,
    motion_errors,
    shown_points,
)
from gvf_core.evaluation.report import common_clips, report_json, report_markdown, summarise
from gvf_core.evaluation.triangle_motion import LEAST_STRETCH, MOST_STRETCH, triangle_motion
from gvf_core.evaluation.true_motion import (
    FARTHEST,
    contrasting_color,
    driving_camera,
    novel_cameras,
    over,
    write_alpha_video,
)
from gvf_core.geometry import SurfacePoints, matrix_from_rotation_vector
from gvf_core.rendering import orbit_camera
from gvf_core.video import cut_out, read_video

CAMERA = orbit_camera(0.0, 0.0, size=64)
"""Looks along +y."""


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def cube():
    box = trimesh.creation.box()
    return np.asarray(box.vertices, np.float64), np.asarray(box.faces, np.int32)


def shifts(vertices: np.ndarray, *steps: tuple[float, float, float]) -> np.ndarray:
    """The vertices at rest, then moved by each step."""
    return np.stack([vertices, *(vertices + step for step in steps)])


def ratios(moved, truth, triangles, rng, count=512):
    return motion_errors(moved, truth, triangles, CAMERA, rng, count)


def test_motion_at_rest_depth_is_right_in_every_picture_and_keeps_the_depth(cube):
    vertices, _ = cube
    truth = shifts(vertices, (0.1, 0.2, 0.0), (0.0, -0.3, 0.3))
    flat = at_rest_depth(truth, CAMERA)
    (pixels, depth), (true_pixels, true_depth) = CAMERA.project(flat), CAMERA.project(truth)
    np.testing.assert_allclose(pixels, true_pixels, atol=1e-9)
    np.testing.assert_allclose(depth, np.broadcast_to(true_depth[:1], depth.shape))
    np.testing.assert_allclose(flat[0], truth[0])


def test_the_truth_has_ratio_0_and_the_unmoved_mesh_ratio_1(cube, rng):
    vertices, triangles = cube
    truth = shifts(vertices, (0.1, 0.2, 0.0), (0.0, 0.1, 0.3))
    exact = ratios(truth, truth, triangles, rng)
    still = ratios(shifts(vertices, (0, 0, 0), (0, 0, 0)), truth, triangles, rng)
    assert (exact.ratio_all, exact.ratio_visible, exact.ratio_in_plane) == (0, 0, 0)
    assert (still.ratio_all, still.ratio_visible, still.ratio_in_plane) == pytest.approx((1, 1, 1))
    assert still.unmoved_error == pytest.approx((np.hypot(0.1, 0.2) + np.hypot(0.1, 0.3)) / 2)


def test_errors_towards_the_camera_are_not_in_its_plane(cube, rng):
    vertices, triangles = cube
    truth = shifts(vertices, (0.1, 0.1, 0.0))
    errors = ratios(shifts(vertices, (0.1, 0.0, 0.0)), truth, triangles, rng)
    assert errors.ratio_in_plane == pytest.approx(0, abs=1e-9)
    assert errors.ratio_all == pytest.approx(0.1 / np.hypot(0.1, 0.1))


def test_there_is_no_ratio_to_a_part_of_the_motion_that_is_not_there(cube, rng):
    vertices, triangles = cube
    away = np.array([0.0, 0.3, 0.0])
    truth = shifts(vertices, away)
    still = ratios(shifts(vertices, 0 * away), truth, triangles, rng)
    assert still.ratio_in_plane is None and still.ratio_all == 1
    out_of_sight = shifts(vertices + np.array([9.0, 0, 0]), away)
    assert ratios(out_of_sight, out_of_sight, triangles, rng).ratio_visible is None


def test_the_first_frame_does_not_count(cube, rng):
    vertices, triangles = cube
    truth = shifts(vertices, (0.1, 0.0, 0.0))
    moved = truth.copy()
    moved[0] += 5.0
    assert ratios(moved, truth, triangles, rng).ratio_all == 0


def test_a_surface_counts_by_its_area_however_many_vertices_it_has(rng):
    large = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], float)
    small = 0.01 * np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], float) - 0.2
    vertices = np.concatenate([large, *[small] * 50])
    triangles = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    truth = shifts(vertices, (0.1, 0.0, 0.0))
    moved = truth.copy()
    moved[1, 3:] = vertices[3:]
    # 50 of 51 triangles are wrong; they have 0.5 % of the area.
    assert ratios(moved, truth, triangles, rng, count=4096).ratio_all < 0.02


def test_hidden_points_count_as_visible_from_the_frame_on_that_shows_them(cube):
    vertices, triangles = cube
    points = SurfacePoints(np.arange(len(triangles)), np.full((len(triangles), 3), 1 / 3))
    half_turn = matrix_from_rotation_vector(np.array([0.0, 0.0, np.pi]))
    frames = np.stack([vertices, vertices, vertices @ half_turn.T])
    positions = points.positions(frames, triangles)
    seen = shown_points(points, positions, frames, triangles, CAMERA)
    front, back = positions[0, :, 1] < -0.49, positions[0, :, 1] > 0.49
    assert seen[:, front].all()
    assert not seen[:2, back].any() and seen[2, back].all()


def test_an_error_on_the_hidden_side_spares_the_visible_ratio(cube, rng):
    vertices, triangles = cube
    truth = shifts(vertices, (0.0, 0.0, 0.1))
    moved = truth.copy()
    moved[1, vertices[:, 1] > 0] = vertices[vertices[:, 1] > 0]
    errors = ratios(moved, truth, triangles, rng)
    assert errors.ratio_visible < 0.2 < 0.4 < errors.ratio_all


def test_a_truth_that_does_not_move_and_other_shapes_are_refused(cube, rng):
    vertices, triangles = cube
    still = shifts(vertices, (0, 0, 0))
    with pytest.raises(ValueError, match="does not move"):
        ratios(still, still, triangles, rng)
    with pytest.raises(ValueError, match="shape"):
        ratios(still[:, :-1], still, triangles, rng)


def test_jerk_is_0_for_even_acceleration_and_grows_with_trembling(rng):
    time = np.arange(8.0)[:, None, None]
    even = 0.1 * time**2 * np.ones((1, 5, 3))
    assert jerk(even) == pytest.approx(0, abs=1e-9)
    assert jerk(even + 0.01 * rng.standard_normal(even.shape)) > 0.01
    assert jerk(even[:3]) == 0


def test_edges_that_grow_by_a_tenth_have_a_distortion_of_a_tenth(cube):
    vertices, triangles = cube
    turned = vertices @ matrix_from_rotation_vector(np.array([0.3, 0.2, 0.1])).T
    assert edge_distortion(np.stack([vertices, turned]), vertices, triangles) == pytest.approx(0, abs=1e-9)
    assert edge_distortion(np.stack([vertices, 1.1 * vertices]), vertices, triangles) == pytest.approx(0.1)
    assert len(mesh_edges(np.array([[0, 1, 2], [2, 1, 3]], np.int32))) == 5


def test_the_best_rigid_motion_is_a_rigid_motion_itself(cube, rng):
    vertices, triangles = cube
    turn = matrix_from_rotation_vector(np.array([0.5, -0.4, 1.0]))
    truth = np.stack([vertices, vertices @ turn.T + (0.1, 0.2, 0.3)])
    np.testing.assert_allclose(best_rigid_motion(truth, triangles, rng, 256), truth, atol=1e-9)
    bent = np.stack([vertices, vertices + 0.4 * (vertices[:, :1] > 0) * (0, 0, 1)])
    assert ratios(best_rigid_motion(bent, triangles, rng), bent, triangles, rng).ratio_all < 1
    mirrored = np.stack([vertices, vertices * (-1, 1, 1)])
    found = best_rigid_motion(mirrored, triangles, rng, 256)
    assert edge_distortion(found, vertices, triangles) < 1e-9


def test_spots_on_triangles_turn_and_stretch_with_the_mesh():
    rest = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    triangles = np.array([[0, 1, 2]], np.int32)
    turn = matrix_from_rotation_vector(np.array([0.2, 0.7, -0.3]))
    for stretch, expected in (((1, 1, 1), (1, 1)), ((0.5, 2, 1), (2, 0.5)), ((100, 1, 1), (MOST_STRETCH, 1))):
        axes, stretches = triangle_motion(rest, rest * stretch @ turn.T, triangles)
        np.testing.assert_allclose(stretches, [expected], atol=1e-9)
        np.testing.assert_allclose(axes[0, :, 2], turn[:, 2], atol=1e-9)
        np.testing.assert_allclose(axes[0] @ axes[0].T, np.eye(3), atol=1e-9)
        assert np.linalg.det(axes[0]) == pytest.approx(1)
    axes, _ = triangle_motion(rest, rest * (0.5, 2, 1) @ turn.T, triangles)
    assert abs(axes[0, :, 0] @ turn[:, 1]) == pytest.approx(1)
    collapsed = triangle_motion(rest, 0 * rest, triangles)
    assert np.isfinite(collapsed.axes).all() and (collapsed.stretches == LEAST_STRETCH).all()


def test_the_camera_moves_back_until_all_frames_fit(cube):
    vertices, _ = cube
    near = driving_camera(shifts(vertices, (0, 0, 0)), 45, 15, 49.1, 64)
    far = driving_camera(shifts(vertices, (0, 0, 0), (1.0, 0, 0)), 45, 15, 49.1, 64)
    radii = [np.linalg.norm(camera.position) for camera in (near, far)]
    assert 2 <= radii[0] < radii[1] < FARTHEST
    pixels, _ = far.project(vertices + np.array([1.0, 0, 0]))
    assert pixels.min() >= 0 and pixels.max() <= 64
    assert all(np.linalg.norm(camera.position) == pytest.approx(radii[1]) for camera in novel_cameras(far, 45, 49.1))
    with pytest.raises(CaptureError, match="too far away"):
        driving_camera(shifts(vertices, (30.0, 0, 0)), 45, 15, 49.1, 64)


def test_the_film_comes_back_without_loss(tmp_path, rng):
    frames = rng.integers(0, 256, (3, 20, 36, 4)).astype(np.uint8)
    frames[:, :5, :, 3] = 0
    write_alpha_video(tmp_path / "film.mkv", frames, 29.97)
    video = read_video(tmp_path / "film.mkv")
    np.testing.assert_array_equal(video.frames, frames)
    assert video.fps == pytest.approx(29.97, abs=1e-3)
    assert cut_out(video, method="alpha")[0, 0, 0, 3] == 0


def some_assets() -> list[AnimatedAsset]:
    families = {"wolf": ("a1", "a2"), "deer": ("b1",), "fish": ("c1",), "truck": ("d1",)}
    kinds = {"wolf": "quadruped", "deer": "quadruped", "fish": "aquatic", "truck": "vehicle"}
    return [AnimatedAsset(Path(name), name, key, kinds[key]) for key, names in families.items() for name in names]


def clips_of(asset: AnimatedAsset) -> list[str]:
    return [f"{asset.name} {index}" for index in range(1 if asset.family == "truck" else 3)]


def test_clips_are_drawn_by_the_seed_and_every_one_once():
    first = list(drawn_clips(some_assets(), clips_of, seed=3))
    assert first == list(drawn_clips(some_assets(), clips_of, seed=3))
    assert first != list(drawn_clips(some_assets(), clips_of, seed=4))
    assert len({(choice.asset.name, choice.clip) for choice in first}) == len(first) == 13


def test_every_family_has_its_turn_before_one_has_a_second():
    for seed in range(5):
        drawn = [choice.asset for choice in drawn_clips(some_assets(), clips_of, seed)]
        assert {asset.family for asset in drawn[:4]} == {"wolf", "deer", "fish", "truck"}
        assert len({asset.category for asset in drawn[:3]}) == 3


def test_an_asset_that_cannot_be_opened_is_passed_over():
    def refusing(asset: AnimatedAsset) -> list[str]:
        if asset.family == "wolf":
            raise FileFormatError("It is broken.")
        return clips_of(asset)

    assert {choice.asset.family for choice in drawn_clips(some_assets(), refusing, 0)} == {"deer", "fish", "truck"}


def test_without_blender_no_asset_is_passed_over():
    def refusing(asset: AnimatedAsset) -> list[str]:
        raise SettingsError("There is no Blender.")

    with pytest.raises(SettingsError, match="no Blender"):
        list(drawn_clips(some_assets(), refusing, 0))


def test_assets_are_found_in_folders_with_the_families_of_the_table(tmp_path):
    folder = tmp_path / "animated"
    (folder / "more").mkdir(parents=True)
    for name in ("fox.glb", "more/cat.fbx", "more/cat.usdc", "notes.txt"):
        (folder / name).write_bytes(b"x")
    table = "name,category,family\nfox,quadruped,canines\n"
    (tmp_path / "animated.csv").write_text(table, encoding="utf-8-sig")
    found = {asset.name: (asset.family, asset.category) for asset in find_assets(folder)}
    assert found == {
        "fox": ("canines", "quadruped"),
        "more/cat.fbx": ("more/cat.fbx", ""),
        "more/cat.usdc": ("more/cat.usdc", ""),
    }
    assert [asset.name for asset in find_assets(folder / "fox.glb")] == ["fox"]
    (choice,) = named_clips(find_assets(folder), ["fox:Run: fast"])
    assert choice == ClipChoice(find_assets(folder)[0], "Run: fast")
    assert len(named_clips(find_assets(folder), ["fox:Run", "fox:Walk", "fox:Run"])) == 2
    with pytest.raises(FileFormatError, match="ASSET:CLIP"):
        named_clips(find_assets(folder), ["dog:Run"])
    with pytest.raises(FileFormatError, match="no animated file"):
        find_assets(tmp_path / "animated.csv")


def a_row(clip: str, ratio: float, **others) -> dict:
    row = {"engine": "fit", "asset": "fox", "clip": clip, "ratio_all": ratio, "ratio_visible": 0.5}
    row |= {"ratio_in_plane": 0.4, "psnr_gain": 1.0, "psnr_driving": 30.0, "seconds": 2.0, "peak_memory_mb": None}
    row |= {"unmoved_error": 0.1, "jerk": 0.0, "true_jerk": 0.0, "edge_distortion": 0.0, "true_edge_distortion": 0.0}
    return row | {"warnings": []} | others


def test_totals_count_failures_apart_and_name_the_worst():
    rows = [a_row("Run", 0.5), a_row("Walk", 1.2), a_row("Sit", 1.04)]
    rows.append({"engine": "fit", "asset": "fox", "clip": "Fly", "failure": "It does not."})
    summary = summarise(rows)
    assert (summary["clips"], summary["failed"]) == (3, 1)
    assert summary["ratio_all"]["median"] == pytest.approx(1.04)
    assert summary["share_worse_than_unmoved"] == pytest.approx(1 / 3)
    assert [one["clip"] for one in summary["worst"]] == ["Walk", "Sit", "Run"]
    assert summary["peak_memory_mb"] is None


def test_engines_that_failed_on_different_clips_are_compared_on_those_that_none_failed_on():
    rows = [a_row("Run", 0.4), a_row("Walk", 0.6)]
    rows += [
        {**a_row("Run", 0.5), "engine": "auto"},
        {"engine": "auto", "asset": "fox", "clip": "Walk", "failure": "-"},
    ]
    rows.append({"engine": "diffusion", "asset": "fox", "clip": "Run", "failure": "It cannot run at all."})
    assert common_clips(rows) == {"clips": 1, "ratio_all": {"fit": 0.4, "auto": 0.5}}
    assert common_clips(rows[:3]) == {"clips": 1, "ratio_all": {"fit": 0.4, "auto": 0.5}}
    assert common_clips(rows[:2]) is None and common_clips(rows[-1:]) is None
    assert common_clips([rows[0], {**a_row("Walk", 0.5), "engine": "auto"}]) == {"clips": 0, "ratio_all": {}}
    what = {"assets": "somewhere", "options": {}, "settings": {}}
    text = report_markdown(report_json(rows, ["fit", "auto", "diffusion"], what, []))
    assert "over the 1 that none failed on: fit 0.40, auto 0.50." in text


def test_figures_that_a_clip_does_not_have_are_blank_and_in_no_total():
    root = {"root_rotation_error": 3.0, "root_translation_error": 0.1, "ratio_deformation": 0.4}
    rows = [a_row("Run", 0.5, **root), a_row("Spin", 0.5, **root | {"ratio_deformation": None}, ratio_in_plane=None)]
    report = report_json(rows, ["fit"], {"assets": "", "options": {}, "settings": {}}, [])
    assert report["summary"]["clips"] == 2
    totals = {name: report["summary"][name] for name in ("ratio_deformation", "ratio_in_plane", "root_rotation_error")}
    assert {name: (total["clips"], total["median"]) for name, total in totals.items()} == {
        "ratio_deformation": (1, 0.4),
        "ratio_in_plane": (1, 0.4),
        "root_rotation_error": (2, 3.0),
    }
    text = report_markdown(report)
    assert "| 3.0 | 0.100 | 0.40 |" in text and "| 3.0 | 0.100 |  |" in text
    assert "| fox | Spin | 0.50 | 0.50 |  | +1.0 |" in text


def test_the_report_has_a_line_for_every_clip_whatever_its_name():
    rows = [a_row("Rig|Run", 0.5), {"engine": "fit", "asset": "fox", "clip": "Fly", "failure": "It does not."}]
    what = {"assets": "somewhere", "options": {"size": 256}, "settings": {"seed": 0}}
    text = report_markdown(report_json(rows, ["fit"], what, ["Idle hardly moves."]))
    assert r"| fox | Rig\|Run | 0.50 |" in text
    assert "failed: It does not." in text and "- Idle hardly moves." in text


@pytest.mark.parametrize(("colors", "expected"), [([[1.0, 1, 1]], (0, 0, 0)), ([[0.0, 0, 0]], (1, 1, 1))])
def test_pictures_are_laid_over_a_color_that_the_asset_stands_out_from(colors, expected):
    assert contrasting_color(torch.tensor(colors)).tolist() == list(expected)
    black_and_white = contrasting_color(torch.tensor([[0.0, 0, 0], [1.0, 1, 1]]))
    assert 0.3 < black_and_white.mean() < 0.7
    half_covered = torch.tensor([0.2, 0.2, 0.2, 0.5])
    assert over(half_covered, torch.tensor([1.0, 1, 0])).tolist() == pytest.approx([0.7, 0.7, 0.2])


def test_the_report_tells_what_is_measured_of_pictures_and_what_is_absent():
    why = "The weights vgg16 are not installed."
    scores = {"size": 512, "psnr": 20.0, "ssim": 0.9, "lpips": None, "clip": 0.8, "single_video_distance": 30.0}
    source = {"vgg16": {"origin": "user", "page": None, "sha256": ["ab"]}}
    pictures = {**scores, "absent": {"lpips": why}, "weights": source}
    surface = {"vertex_error": 0.02, "cd_3d": 0.01, "cd_4d": 0.02, "cd_m": 0.04}
    rows = [
        {**a_row("Run", 0.5), **surface, "drift": [0.1, 0.2], "pictures": pictures},
        {**a_row("Walk", 0.5), **surface, "drift": [0.3, 0.4], "pictures": {**pictures, "psnr": 30.0}},
        a_row("Old", 0.5),
    ]
    what = {"assets": "somewhere", "options": {"size": 256}, "settings": {"seed": 0}}
    report = report_json(rows, ["fit"], what, [], {"fit": {"fvd": 123.4, "videos": 8}})
    summary = report["summary"]
    assert summary["pictures"] == {"psnr": 25.0, "ssim": 0.9, "lpips": None, "clip": 0.8, "single_video_distance": 30.0}
    assert summary["drift"] == pytest.approx([0.2, 0.3]) and summary["cd_m"]["mean"] == pytest.approx(0.04)
    assert report["absent"] == {"lpips": why} and report["metric_weights"] == source
    text = report_markdown(report)
    assert "| fit | 25.00 | 0.900 | absent | 0.800 | 30 | 123.4 (8) |" in text
    assert f"- LPIPS is absent: {why}" in text and "- Weights vgg16: a file of the user, sha256 ab" in text
    assert "| fit | 0.2000 | 0.3000 |" in text

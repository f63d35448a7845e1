"""From a capture and a video file to an animation."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from small_assets import bent, painted_body, picture, straight
from video_files import write_video

from gvf_core.animation import Animation
from gvf_core.errors import Cancelled, VideoError
from gvf_core.gaussians import VariationField
from gvf_core.pipeline import STAGES, FurtherVideo, animate
from gvf_core.rendering import Camera, orbit_camera
from gvf_core.settings import AnimateSettings

BODY = replace(painted_body(size=192, axes=(0.5, 0.12, 0.1)), world_from_unit=np.diag([3.0, 3, 3, 1]))
SETTINGS = AnimateSettings(azimuth=0, elevation=10, gaussians=2000)
AMOUNTS = [0.0, 0.7, 1.4]


def film(path: Path, amounts: list[float] = AMOUNTS, width: int = 160, height: int = 96, alpha: bool = True) -> Path:
    """The painted body bending, before a plain colour where the file has no alpha."""
    larger = max(width, height)
    focal = larger * orbit_camera(0, 0).intrinsics[0]
    seen_from = orbit_camera(0, 10).world_to_camera
    camera = Camera(seen_from, (focal / width, focal / height, 0.5, 0.5), width, height)
    drawn = [picture(bent(BODY.vertices, amount), BODY.vertices, BODY.triangles, camera) for amount in amounts]
    if alpha:
        return write_video(path, [straight(rgba) for rgba in drawn], "png", "rgba")
    return write_video(path, [np.round(255 * (rgba[..., :3] + 1 - rgba[..., 3:])).astype(np.uint8) for rgba in drawn])


def bending_error(animation: Animation) -> float:
    """Mean distance to the truth, relative to that of the unmoved mesh."""
    truth = np.stack([bent(BODY.vertices, amount) for amount in AMOUNTS])
    found, unmoved = (np.linalg.norm(v - truth, axis=-1).mean() for v in (animation.vertices, BODY.vertices))
    return float(found / unmoved)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Animation, list[tuple[str, float]]]:
    """An animation, and what was told about its progress."""
    told: list[tuple[str, float]] = []
    path = film(tmp_path_factory.mktemp("films") / "bend.mov")
    animation = animate(BODY, path, SETTINGS, lambda stage, fraction: told.append((stage, fraction)))
    return animation, told


def test_the_mesh_moves_like_the_video(run):
    assert bending_error(run[0]) < 0.5


def test_the_animation_has_the_videos_frames_and_the_captures_place(run):
    animation, _ = run
    assert animation.vertices.shape == (3, *BODY.vertices.shape)
    assert animation.variation.deltas.shape == (3, 2000, 14)
    assert animation.fps == 24
    np.testing.assert_array_equal(animation.world_from_unit, BODY.world_from_unit)
    np.testing.assert_array_equal(animation.vertices[0], BODY.vertices)


def test_colours_follow_the_video_where_that_is_asked_for(tmp_path, run):
    told: list[float] = []
    settings = replace(SETTINGS, follow_colors=True)
    animation = animate(BODY, film(tmp_path / "bend.mov"), settings, lambda stage, fraction: told.append(fraction))
    np.testing.assert_array_equal(animation.vertices, run[0].vertices)
    look = slice(VariationField.COLORS.start, VariationField.OPACITY + 1)
    assert animation.variation.deltas[1:, :, look].any() and not run[0].variation.deltas[..., look].any()
    assert animation.provenance["recolored"]["after"] < animation.provenance["recolored"]["before"]
    assert all(a <= b for a, b in pairwise(told))


def test_progress_goes_through_all_stages_never_falls_and_ends_at_one(run):
    _, told = run
    assert list(dict.fromkeys(stage for stage, _ in told)) == list(STAGES["fit"])
    fractions = [fraction for _, fraction in told]
    assert all(a <= b for a, b in pairwise(fractions))
    assert fractions[0] == 0 and fractions[-1] == 1


def test_every_stage_ends_where_the_next_begins(run):
    _, told = run
    for stage, end in STAGES["fit"].items():
        assert max(fraction for name, fraction in told if name == stage) == pytest.approx(end)


def test_the_provenance_says_how_it_came_about_and_is_json(run):
    provenance = json.loads(json.dumps(run[0].provenance, allow_nan=False))
    assert provenance["engine"] == "fit"
    assert provenance["settings"]["gaussians"] == 2000
    assert provenance["frames"] == 3
    assert provenance["alignment_iou"] > 0.9
    assert list(provenance["seconds"]) == list(STAGES["fit"])
    assert provenance["warnings"] == []


def test_a_portrait_video_without_alpha_works_as_well(tmp_path):
    animation = animate(BODY, film(tmp_path / "a.mp4", width=130, height=200, alpha=False), SETTINGS)
    assert animation.provenance["alignment_iou"] > 0.8
    assert bending_error(animation) < 0.7


def test_a_view_that_does_not_fit_the_video_is_warned_about(tmp_path):
    path = film(tmp_path / "a.mov", AMOUNTS[:2])
    animation = animate(BODY, path, replace(SETTINGS, azimuth=90))
    assert animation.provenance["alignment_iou"] < 0.6
    assert any("Check the view" in warning for warning in animation.provenance["warnings"])


@pytest.mark.parametrize("stage", [*STAGES["fit"]])
def test_cancelling_in_any_stage_stops_there(tmp_path, stage):
    reached: list[str] = []
    with pytest.raises(Cancelled):
        animate(
            BODY,
            film(tmp_path / "a.mov", AMOUNTS[:2]),
            SETTINGS,
            on_progress=lambda name, fraction: reached.append(name),
            cancelled=lambda: stage in reached,
        )
    assert reached[-1] == stage


def test_a_video_that_cannot_be_used_fails_before_anything_expensive(tmp_path):
    reached: list[str] = []
    with pytest.raises(VideoError):
        animate(BODY, tmp_path / "gone.mp4", SETTINGS, lambda stage, fraction: reached.append(stage))
    assert set(reached) == {"Reading the video"}


def leaving(path: Path, azimuth: float, frames: int = 3) -> Path:
    """The body goes away from a camera at azimuth 0, by 0.1 a frame."""
    camera = orbit_camera(azimuth, 10, size=160)
    meshes = [BODY.vertices + np.array([0, 0.1 * index, 0]) for index in range(frames)]
    drawn = [picture(mesh, BODY.vertices, BODY.triangles, camera) for mesh in meshes]
    return write_video(path, [straight(rgba) for rgba in drawn], "png", "rgba")


def test_a_further_video_shows_the_way_along_the_line_of_sight(tmp_path):
    further = FurtherVideo(leaving(tmp_path / "side.mov", 90), 90, 10)
    found = animate(BODY, leaving(tmp_path / "front.mov", 0), SETTINGS, further=[further])
    assert found.provenance["videos"] == 2
    error = found.vertices[-1] - (BODY.vertices + np.array([0, 0.2, 0]))
    assert np.linalg.norm(error, axis=-1).mean() < 0.25 * 0.2


def test_a_further_video_that_is_shorter_is_refused_by_name(tmp_path):
    further = FurtherVideo(leaving(tmp_path / "side.mov", 90, frames=2), 90, 10)
    with pytest.raises(VideoError, match=r"side.mov has 2 frames, the driving video 3"):
        animate(BODY, film(tmp_path / "a.mov"), SETTINGS, further=[further])


def test_the_same_input_gives_the_same_animation(tmp_path, run):
    again = animate(BODY, film(tmp_path / "bend.mov"), SETTINGS)
    np.testing.assert_array_equal(again.vertices, run[0].vertices)

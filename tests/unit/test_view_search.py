"""Finding from which direction the first frame sees the asset."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_assets import painted_body, picture

from gvf_core.canonical import gaussians_on_surface
from gvf_core.canonical.view_search import FoundView, find_view
from gvf_core.gaussians import Gaussians
from gvf_core.rendering import Camera, orbit_camera

FOV = 45.0
LEVEL = (0.0, 0.0)
"""Elevations searched where only the azimuth matters, for the sake of time."""
BODY = painted_body(views=12, size=96)
PAINTED = gaussians_on_surface(BODY, 1500, np.random.default_rng(0)).gaussians
GRAY = replace(PAINTED, colors=torch.zeros_like(PAINTED.colors))
ROUND_BODY = painted_body(views=1, size=8, axes=(0.5, 0.5, 0.5))
PLAIN_BALL = gaussians_on_surface(ROUND_BODY, 1500, np.random.default_rng(0)).gaussians
PLAIN_BALL = replace(PLAIN_BALL, colors=torch.zeros_like(PLAIN_BALL.colors))


def seen_from(azimuth: float, elevation: float, body=BODY, camera: Camera | None = None) -> np.ndarray:
    camera = camera or orbit_camera(azimuth, elevation, fov=FOV, size=128)
    return picture(body.vertices, body.vertices, body.triangles, camera)


def gray(frame: np.ndarray) -> np.ndarray:
    return np.concatenate([0.5 * np.repeat(frame[..., 3:], 3, axis=2), frame[..., 3:]], axis=2)


def degrees_off(found: FoundView, azimuth: float, elevation: float) -> float:
    positions = [
        orbit_camera(*angles, 1).position for angles in ((found.azimuth, found.elevation), (azimuth, elevation))
    ]
    return float(np.degrees(np.arccos(np.clip(positions[0] @ positions[1], -1, 1))))


@pytest.mark.parametrize(("azimuth", "elevation"), [(-141, 25), (85, -12)])
def test_the_direction_is_found_from_every_side_without_a_remark(azimuth, elevation):
    found = find_view(PAINTED, seen_from(azimuth, elevation), FOV)
    assert degrees_off(found, azimuth, elevation) < 6
    assert found.remark == ""
    assert found.confidence > 0.9


@pytest.mark.parametrize("azimuth", [25, 155, -155])
def test_colours_decide_between_directions_whose_silhouettes_are_equal_or_mirrored(azimuth):
    frame, silhouette = seen_from(azimuth, 0), seen_from(25, 0)[..., 3]
    mirrored = silhouette[:, ::-1]
    assert min(np.abs(frame[..., 3] - shape).mean() for shape in (silhouette, mirrored)) < 0.001
    assert degrees_off(find_view(PAINTED, frame, FOV, elevations=LEVEL), azimuth, 0) < 6


def test_strong_coloured_side_light_does_not_turn_the_asset_round():
    frame = seen_from(60, 0)
    frame[..., :3] *= np.linspace(0.15, 1, frame.shape[1])[None, :, None] * [1.0, 0.9, 0.75]
    assert degrees_off(find_view(PAINTED, frame, FOV, elevations=LEVEL), 60, 0) < 10


def test_size_place_and_shape_of_the_frame_do_not_matter():
    camera = replace(orbit_camera(-70, 20, 3.5), intrinsics=(0.9, 1.6, 0.7, 0.35), width=320, height=180)
    found = find_view(PAINTED, seen_from(-70, 20, camera=camera), 58.0, elevations=(10, 30))
    assert degrees_off(found, -70, 20) < 6


def test_a_known_elevation_is_kept():
    assert find_view(PAINTED, seen_from(33, 10), FOV, elevations=(10, 10)).elevation == 10


def test_a_plain_ball_looks_alike_from_everywhere_and_the_artist_is_told():
    found = find_view(PLAIN_BALL, gray(seen_from(40, 10, ROUND_BODY)), FOV, elevations=(10, 10))
    assert found.confidence < 0.6
    assert found.alternative is not None
    assert "looks much the same from azimuth" in found.remark


def test_another_object_than_the_asset_gets_a_remark():
    frame = np.zeros((96, 96, 4), np.float32)
    frame[20:80, 45:51] = frame[70:76, 20:76] = frame[20:26, 20:76] = (1, 0, 0, 1)
    found = find_view(PAINTED, frame, FOV, elevations=LEVEL)
    assert found.confidence < 0.5
    assert "silhouettes overlap by" in found.remark


def test_an_object_that_the_frame_cuts_off_gets_a_remark():
    found = find_view(PAINTED, seen_from(33, 10)[:, 50:], FOV, elevations=(10, 10))
    assert found.confidence < 0.6
    assert "cuts the object off" in found.remark


@pytest.mark.parametrize(
    ("asset", "frame", "remark"),
    [
        (PAINTED, np.zeros((40, 60, 4), np.float32), "frame shows nothing"),
        (replace(PAINTED, opacities=torch.full_like(PAINTED.opacities, -20)), seen_from(0, 0), "no visible Gaussians"),
        (replace(PAINTED, means=torch.full_like(PAINTED.means, torch.nan)), seen_from(0, 0), "no visible Gaussians"),
    ],
    ids=["empty frame", "transparent", "not finite"],
)
def test_nothing_to_compare_is_no_error_but_no_confidence(asset: Gaussians, frame: np.ndarray, remark: str):
    found = find_view(asset, frame, FOV, elevations=(10, 50))
    assert found.confidence == 0
    assert found.elevation == 10
    assert remark in found.remark


def test_a_single_gaussian_is_no_error():
    single = Gaussians(*(field[:1] for field in vars(PAINTED).values()))
    assert find_view(single, seen_from(0, 0), FOV, elevations=(0, 0)).remark


def test_an_image_encoder_decides_between_directions_that_cost_the_same():
    frame = gray(seen_from(30, 10))
    shown = []

    def likes(index: int):
        def similarity(pictures: np.ndarray, wanted: np.ndarray) -> np.ndarray:
            shown.append((pictures, wanted))
            return np.eye(len(pictures))[index]

        return similarity

    first, second = (find_view(GRAY, frame, FOV, elevations=(10, 10), similarity=likes(index)) for index in (0, 1))
    assert abs(first.cost - second.cost) < 0.03
    assert (second.azimuth, second.elevation) == pytest.approx(first.alternative)
    pictures, wanted = shown[0]
    assert pictures.dtype == wanted.dtype == np.uint8
    assert pictures.shape[1:] == wanted.shape
    assert (wanted[0, 0] == 255).all() and (pictures[:, 0, 0] == 255).all()
    assert np.abs(pictures[0].astype(int) - wanted).mean() < 8


def test_the_same_input_gives_the_same_view():
    frame = seen_from(33, 10)
    first, second = (find_view(PAINTED, frame, FOV, elevations=LEVEL) for _ in range(2))
    assert first == second


def test_progress_rises_to_one_and_may_stop_the_search():
    seen: list[float] = []
    find_view(PAINTED, seen_from(33, 10), FOV, elevations=(10, 10), on_progress=seen.append)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)

    def stop(fraction: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        find_view(PAINTED, seen_from(33, 10), FOV, on_progress=stop)

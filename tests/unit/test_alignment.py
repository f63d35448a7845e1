"""Finding where the asset stands in the first frame."""

from dataclasses import replace

import numpy as np
import pytest
from small_assets import painted_body, picture

from gvf_core.canonical import align_to_frame
from gvf_core.canonical.alignment import FARTHEST, NEAREST
from gvf_core.rendering import Camera, orbit_camera

BODY = painted_body(views=1, size=8)


def frame_of(camera: Camera, body=BODY) -> np.ndarray:
    return picture(body.vertices, body.vertices, body.triangles, camera)


def video_camera(
    width: int,
    height: int,
    *,
    zoom: float = 1.0,
    shift: tuple[float, float] = (0, 0),
    radius: float = 2.0,
    fov: float = 49.1,
) -> Camera:
    """Seen from azimuth 35, elevation 10; shift in pixels."""
    larger = max(width, height)
    focal = zoom * larger * orbit_camera(0, 0, fov=fov).intrinsics[0]
    intrinsics = (focal / width, focal / height, 0.5 + shift[0] / width, 0.5 + shift[1] / height)
    return replace(orbit_camera(35, 10, radius), intrinsics=intrinsics, width=width, height=height)


def pixels_off(found: Camera, true: Camera) -> float:
    return float(np.linalg.norm(found.project(BODY.vertices)[0] - true.project(BODY.vertices)[0], axis=1).mean())


@pytest.mark.parametrize(("width", "height"), [(320, 320), (400, 225), (225, 400), (500, 120)])
@pytest.mark.parametrize(("zoom", "shift"), [(1.0, (0, 0)), (0.55, (28.0, -17.0))])
def test_scale_and_position_are_found_in_frames_of_any_shape(width, height, zoom, shift):
    true = video_camera(width, height, zoom=zoom * min(width, height) / max(width, height), shift=shift)
    alignment = align_to_frame(BODY, frame_of(true), 35, 10, 49.1)
    assert (alignment.camera.width, alignment.camera.height) == (width, height)
    assert alignment.iou > 0.95
    assert pixels_off(alignment.camera, true) < 0.01 * max(width, height)


@pytest.mark.parametrize(("radius", "fov"), [(1.4, 49.1), (2.0, 49.1), (4.0, 20.0), (9.0, 49.1), (2.5, 90.0)])
def test_the_size_in_the_picture_tells_the_distance(radius, fov):
    true = video_camera(384, 384, radius=radius, fov=fov)
    alignment = align_to_frame(BODY, frame_of(true), 35, 10, fov)
    assert np.linalg.norm(alignment.camera.position) == pytest.approx(radius, rel=0.06)
    assert alignment.iou > 0.93
    assert pixels_off(alignment.camera, true) < 3


def test_what_is_thinner_than_a_pixel_of_the_search_is_found():
    frame = np.zeros((1080, 1920, 4), np.float32)
    frame[537:543, 210:1710] = 1
    bar = replace(BODY, vertices=BODY.vertices * np.array([1, 0.004, 0.004], BODY.vertices.dtype))
    camera = align_to_frame(bar, frame, 0, 0, 49.1).camera
    pixels = camera.project(bar.vertices)[0]
    assert np.abs(pixels.mean(axis=0) - [960, 540]).max() < 30
    # Of a few pixels the area tells the size roughly.
    assert np.ptp(pixels[:, 0]) == pytest.approx(1500, rel=0.35)


@pytest.mark.parametrize("fov", [5.0, 120.0])
def test_the_extreme_fields_of_view_still_place_the_asset_from_outside(fov):
    true = video_camera(256, 256)
    alignment = align_to_frame(BODY, frame_of(true), 35, 10, fov)
    assert NEAREST - 1e-9 <= np.linalg.norm(alignment.camera.position) <= FARTHEST + 1e-9
    assert alignment.iou > 0.85


def test_an_object_that_the_frame_cuts_off_is_still_placed():
    true = video_camera(300, 300, shift=(110, 0))
    frame = frame_of(true)
    assert frame[:, -1, 3].max() == 1
    assert align_to_frame(BODY, frame, 35, 10, 49.1).iou > 0.7


def test_another_view_than_the_videos_overlaps_less():
    frame = frame_of(video_camera(256, 256))
    right = align_to_frame(BODY, frame, 35, 10, 49.1).iou
    wrong = align_to_frame(BODY, frame, 125, 60, 49.1).iou
    assert wrong < 0.7 < right


def test_an_empty_frame_overlaps_nothing():
    alignment = align_to_frame(BODY, np.zeros((40, 60, 4), np.float32), 0, 0, 49.1)
    assert alignment.iou == 0
    assert (alignment.camera.width, alignment.camera.height) == (60, 40)


def test_a_mesh_too_thin_to_be_seen_overlaps_nothing():
    line = replace(BODY, vertices=(BODY.vertices * [1, 0, 0]).astype(np.float32))
    assert align_to_frame(line, frame_of(video_camera(64, 64)), 0, 0, 49.1).iou == 0

"""Clips to train on survive their file, and damaged ones are refused."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from gvf_core.errors import FileFormatError
from gvf_core.rendering.camera import orbit_camera
from gvf_core.training.clip_record import FORMAT, ClipRecord, ViewRole, read_clip, write_clip

METADATA = {"format": FORMAT, "version": "1", "family": "f", "category": "c", "origin": "asset", "fps": "24.0"}


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 6, 4), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def record() -> ClipRecord:
    rng = np.random.default_rng(0)
    return ClipRecord(
        name="fox-walk",
        family="fox",
        category="animal",
        origin="asset",
        fps=23.976,
        points=rng.normal(size=(3, 5, 3)).astype(np.float32),
        vertices=rng.normal(size=(4, 3)).astype(np.float32),
        triangles=np.array([[0, 1, 2], [1, 2, 3]], np.int32),
        cameras=tuple(orbit_camera(azimuth, 10.0, fov=40.0, size=8).resized(6, 8) for azimuth in (0.0, 90.0, 180.0)),
        view_frame=np.array([0, 1, 1], np.int32),
        view_role=np.array([ViewRole.CANONICAL, ViewRole.CONDITION, ViewRole.TARGET], np.int32),
        pngs=(picture(10), picture(20), picture(30)),
    )


def test_a_clip_survives_its_file(record, tmp_path):
    again = read_clip(write_clip(tmp_path, record))
    assert (again.name, again.family, again.category, again.origin, again.fps) == (
        "fox-walk", "fox", "animal", "asset", 23.976,
    )  # fmt: skip
    np.testing.assert_array_equal(again.points, record.points)
    np.testing.assert_array_equal(again.triangles, record.triangles)
    assert again.views(ViewRole.TARGET, frame=1) == [2]
    assert again.views(ViewRole.TARGET, frame=0) == []
    view = again.view(2)
    assert view.rgba.shape == (8, 6, 4)
    assert (view.rgba == 30).all()
    np.testing.assert_allclose(view.camera.world_to_camera, record.cameras[2].world_to_camera, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["fox-walk.safetensors"]


def test_vertices_of_all_frames_are_kept_where_they_are_given(record, tmp_path):
    assert read_clip(write_clip(tmp_path, record)).vertex_frames is None
    moved = np.arange(36, dtype=np.float32).reshape(3, 4, 3)
    path = write_clip(tmp_path, dataclasses.replace(record, vertex_frames=moved))
    np.testing.assert_array_equal(read_clip(path).vertex_frames, moved)
    save_file(load_file(path) | {"vertex_frames": moved[:2]}, path, METADATA)
    with pytest.raises(FileFormatError, match="all its vertices in all frames"):
        read_clip(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view_frame": np.array([0, 1, 3], np.int32)}, "frames that it does not have"),
        ({"view_role": np.zeros(2, np.int32)}, "camera for every picture"),
        ({"png_offsets": np.array([0, 5, 3, 9], np.int64)}, "camera for every picture"),
        ({"png": np.zeros(30, np.uint8), "png_offsets": np.array([0, 10, 20, 30], np.int64)}, "not a readable PNG"),
        ({"intrinsics": np.zeros((3, 4), np.float32)}, "does not say what it holds"),
    ],
)
def test_a_damaged_clip_is_refused(record, tmp_path, change, message):
    path = write_clip(tmp_path, record)
    save_file(load_file(path) | change, path, METADATA)
    with pytest.raises(FileFormatError, match=message):
        read_clip(path)


def test_a_clip_without_a_family_is_refused(record, tmp_path):
    path = write_clip(tmp_path, record)
    save_file(load_file(path), path, {name: METADATA[name] for name in ("format", "version")})
    with pytest.raises(FileFormatError, match="family"):
        read_clip(path)

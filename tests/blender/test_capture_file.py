"""The capture file as the extension writes it and as the core reads it."""

import io

import numpy as np
import pytest
from PIL import Image

from gvf_blender.core.capture_file import write_capture
from gvf_blender.core.errors import FileError
from gvf_core.capture import load_capture


def _png(rgba: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def parts():
    generator = np.random.default_rng(0)
    matrices = np.tile(np.eye(4), (2, 1, 1))
    matrices[:, :3, 3] = generator.normal(size=(2, 3))
    return {
        "vertices": generator.uniform(-0.5, 0.5, (5, 3)),
        "triangles": np.array([[0, 1, 2], [2, 3, 4]]),
        "object_id": np.array([0, 0, 0, 1, 1]),
        "objects": ["Körper", 'a "quoted" name'],
        "world_from_unit": np.diag([2.0, 2.0, 2.0, 1.0]),
        "world_to_camera": matrices,
        "intrinsics": np.tile([1.37, 1.37, 0.5, 0.5], (2, 1)),
        "pictures": generator.integers(0, 256, (2, 8, 8, 4), np.uint8),
    }


def _write(path, parts):
    arrays = {name: value for name, value in parts.items() if name != "pictures"}
    write_capture(path, **arrays, pngs=[_png(picture) for picture in parts["pictures"]])


def test_the_core_reads_back_what_the_extension_writes(tmp_path, parts):
    _write(tmp_path / "a.safetensors", parts)
    capture = load_capture(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(capture.vertices, parts["vertices"].astype(np.float32))
    np.testing.assert_array_equal(capture.triangles, parts["triangles"])
    np.testing.assert_array_equal(capture.object_id, parts["object_id"])
    np.testing.assert_array_equal(capture.world_from_unit, parts["world_from_unit"])
    assert capture.objects == tuple(parts["objects"])
    for view, matrix, picture in zip(capture.views, parts["world_to_camera"], parts["pictures"], strict=True):
        np.testing.assert_allclose(view.camera.world_to_camera, matrix, rtol=1e-6)
        np.testing.assert_allclose(view.camera.intrinsics, (1.37, 1.37, 0.5, 0.5), rtol=1e-6)
        np.testing.assert_array_equal(view.rgba, picture)


def test_the_same_capture_gives_the_same_bytes(tmp_path, parts):
    _write(tmp_path / "a.safetensors", parts)
    _write(tmp_path / "b.safetensors", parts)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_folder_in_the_way_is_a_file_error_that_names_it_and_leaves_nothing_behind(tmp_path, parts):
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="taken"):
        _write(tmp_path / "taken", parts)
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_views_without_cameras_are_refused(tmp_path, parts):
    parts["world_to_camera"] = parts["world_to_camera"][:1]
    with pytest.raises(ValueError, match="2 views, 1 cameras"):
        _write(tmp_path / "a.safetensors", parts)

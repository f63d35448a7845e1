"""The capture file as the extension writes it and as the core reads it."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from gvf_blender.core.capture_file import write_capture
from gvf_blender.core.errors import FileError
from gvf_blender.core.png_file import picture_only
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


def test_pictures_that_differ_in_their_text_only_become_equal_bytes():
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 4), np.uint8))
    files = []
    for date in ("today", "tomorrow"):
        text = PngImagePlugin.PngInfo()
        text.add_text("Date", date)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", pnginfo=text)
        files.append(buffer.getvalue())
    assert files[0] != files[1]
    assert picture_only(files[0]) == picture_only(files[1])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture_only(files[0])))), np.asarray(picture))


@given(st.integers(0, 200))
def test_a_png_file_cut_short_anywhere_is_refused(length):
    whole = _png(np.full((8, 8, 4), 77, np.uint8))
    with pytest.raises(ValueError, match="PNG"):
        picture_only(whole[: min(length, len(whole) - 1)])

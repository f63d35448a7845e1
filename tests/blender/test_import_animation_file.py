"""Animation files are checked at the door, and whatever is wrong with one is said in one sentence."""

import json
import struct

import numpy as np
import pytest

from gvf_blender.core.animation_file import read_animation
from gvf_blender.core.errors import FileError
from gvf_blender.core.safetensors_file import write_tensors

METADATA = {"format": "gvf-animation", "version": "1", "fps": "24.0", "provenance": '{"engine": "fit"}'}


def tensors() -> dict[str, np.ndarray]:
    quaternions = np.zeros((1, 5, 4), np.float16)
    quaternions[..., 0] = 1
    world_from_unit = np.diag([2.0, 2.0, 2.0, 1.0])
    world_from_unit[:3, 3] = (1, 2, 3)
    return {
        "means": np.zeros((3, 5, 3), np.float32),
        "quaternions": quaternions,
        "scales": np.full((1, 5, 3), 0.1, np.float16),
        "colors": np.full((3, 5, 3), 0.5, np.float16),
        "opacities": np.ones((1, 5), np.float16),
        "vertices": np.zeros((3, 7, 3), np.float32),
        "world_from_unit": world_from_unit,
    }


def write(folder, changed_tensors=None, changed_metadata=None):
    """A valid file with changes; a change to None leaves the entry out."""
    kept_tensors = {
        name: value for name, value in {**tensors(), **(changed_tensors or {})}.items() if value is not None
    }
    metadata = {name: value for name, value in {**METADATA, **(changed_metadata or {})}.items() if value is not None}
    path = folder / "result.safetensors"
    write_tensors(path, kept_tensors, metadata)
    return path


def test_a_valid_file_is_read_with_all_its_tracks(tmp_path):
    animation = read_animation(write(tmp_path))
    assert (animation.frame_count, animation.gaussian_count, animation.vertex_count) == (3, 5, 7)
    assert animation.fps == 24
    assert animation.provenance == json.loads(METADATA["provenance"])
    for name, value in tensors().items():
        np.testing.assert_array_equal(getattr(animation, name), value)


def test_the_placement_is_the_matrix_without_its_scale(tmp_path):
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 2.5 * turn, (1, 2, 3)
    animation = read_animation(write(tmp_path, {"world_from_unit": matrix}))
    assert animation.unit_scale == pytest.approx(2.5)
    np.testing.assert_allclose(animation.placement[:3, :3], turn, atol=1e-12)
    np.testing.assert_array_equal(animation.placement[:3, 3], (1, 2, 3))


UNEVEN = np.diag([1.0, 1.0, 1.1, 1.0])
MIRRORED = np.diag([-1.0, 1.0, 1.0, 1.0])
NOT_FINITE = np.full((1, 5), np.nan, np.float16)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"means": None}, "lacks the track means"),
        ({"world_from_unit": None}, "lacks the matrix world_from_unit"),
        (
            {"means": np.zeros((3, 5, 3), np.float16)},
            r"means .* is float16 \[3, 5, 3\], expected float32 frames x count x 3",
        ),
        ({"scales": np.zeros((1, 5, 2), np.float16)}, r"scales .* is float16 \[1, 5, 2\]"),
        ({"opacities": np.zeros((1, 5, 1), np.float16)}, r"opacities .* expected float16 frames x count\."),
        ({"vertices": np.zeros((3, 0, 3), np.float32)}, "vertices .* is empty"),
        ({"colors": np.zeros((2, 5, 3), np.float16)}, "colors .* has 2 frames, others 3"),
        ({"colors": np.zeros((3, 4, 3), np.float16)}, "colors .* has 4 Gaussians, means 5"),
        ({"opacities": NOT_FINITE}, "opacities .* not finite"),
        ({"quaternions": np.zeros((1, 5, 4), np.float16)}, "quaternion of length 0, not 1"),
        ({"scales": np.full((1, 5, 3), -0.5, np.float16)}, "scales .* negative value -0.5"),
        ({"opacities": np.full((1, 5), 1.5, np.float16)}, "opacity .* is 1.5, above 1"),
        ({"world_from_unit": np.eye(3)}, "not a finite 4 x 4 matrix"),
        ({"world_from_unit": UNEVEN}, "not a rotation, one scale and a translation"),
        ({"world_from_unit": MIRRORED}, "not a rotation, one scale and a translation"),
        ({"world_from_unit": np.zeros((4, 4))}, "not a rotation, one scale and a translation"),
    ],
)
def test_wrong_tensors_are_named(tmp_path, changed, message):
    with pytest.raises(FileError, match=message) as caught:
        read_animation(write(tmp_path, changed_tensors=changed))
    assert "result.safetensors" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"format": "gvf-capture"}, "is not an animation of this add-on"),
        ({"format": None}, "is not an animation of this add-on"),
        ({"version": "2"}, "version 2, expected 1"),
        ({"fps": None}, "does not say its frames per second"),
        ({"fps": "fast"}, "does not say its frames per second .'fast'."),
        ({"fps": "0"}, "has 0.0 frames per second"),
        ({"fps": "nan"}, "has nan frames per second"),
        ({"fps": "1e300"}, r"has 1e\+300 frames per second"),
        ({"fps": "1e-300"}, "has 1e-300 frames per second"),
        ({"provenance": None}, "provenance .* not readable"),
        ({"provenance": "{"}, "provenance .* not readable"),
        ({"provenance": "[]"}, "not a JSON object"),
        ({"provenance": "[" * 100_000}, "provenance .* not readable"),
    ],
)
def test_wrong_metadata_is_named(tmp_path, changed, message):
    with pytest.raises(FileError, match=message):
        read_animation(write(tmp_path, changed_metadata=changed))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"nothing\.safetensors could not be read"):
        read_animation(tmp_path / "nothing.safetensors")


def test_a_cut_off_file_is_refused(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FileError, match="not a well-formed safetensors file"):
        read_animation(path)


@pytest.mark.parametrize("metadata", [None, 5, ["format"], "gvf-animation", {"format": 1}, {"format": None}])
def test_metadata_that_are_no_texts_are_a_damaged_file(tmp_path, metadata):
    path = write(tmp_path)
    path.write_bytes(with_header(json.dumps({"__metadata__": metadata}).encode()))
    with pytest.raises(FileError, match=r"not a well-formed safetensors file .its metadata"):
        read_animation(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": {"dtype": "U8", "shape": [' + b"9" * 300 + b'], "data_offsets": [0, 1e999]}}',
    ],
    ids=["deep", "huge"],
)
def test_a_header_that_python_cannot_take_is_a_damaged_file(tmp_path, header):
    path = write(tmp_path)
    path.write_bytes(with_header(header))
    with pytest.raises(FileError, match="not a well-formed safetensors file"):
        read_animation(path)


def with_header(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header

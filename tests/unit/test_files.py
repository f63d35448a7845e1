"""Captures and animations travel between the extension and the core; whatever is wrong with a file is said."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file, save_file

from gvf_blender.core.animation_file import read_animation
from gvf_blender.core.capture_file import write_capture
from gvf_core import capture_format as capture_module
from gvf_core.animation import Animation, save_animation
from gvf_core.capture import load_capture
from gvf_core.errors import CaptureError, FileFormatError, FileNotWrittenError, GvfError, SamplingError
from gvf_core.gaussians import Gaussians, Splats, VariationField
from gvf_core.rendering import orbit_camera


def png(size: int = 8, color=(200, 30, 30, 255)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (size, size), color).save(buffer, "PNG")
    return buffer.getvalue()


CAPTURE_METADATA = {"format": "gvf-capture", "version": "1", "objects": '["Body"]'}


def capture_tensors(*pngs: bytes) -> dict[str, np.ndarray]:
    pngs = pngs or (png(), png())
    camera = orbit_camera(0, 0)
    return {
        "vertices": np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]], np.float32),
        "triangles": np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        "object_id": np.zeros(4, np.int32),
        "world_from_unit": np.eye(4),
        "world_to_camera": np.tile(camera.world_to_camera.astype(np.float32), (len(pngs), 1, 1)),
        "intrinsics": np.tile(np.array(camera.intrinsics, np.float32), (len(pngs), 1)),
        "png": np.frombuffer(b"".join(pngs), np.uint8),
        "png_offsets": np.cumsum([0, *map(len, pngs)]).astype(np.int64),
    }


def write(folder: Path, tensors: dict[str, np.ndarray] | None = None, **metadata: str) -> Path:
    save_file(tensors or capture_tensors(), folder / "asset.safetensors", CAPTURE_METADATA | metadata)
    return folder / "asset.safetensors"


# Captures


def test_a_capture_of_the_extension_is_read_as_it_was_written(tmp_path):
    tensors = capture_tensors()
    kept = {name: value for name, value in tensors.items() if not name.startswith("png")}
    write_capture(tmp_path / "a", **kept, objects=["Körper"], pngs=[png(), png(16, (0, 0, 0, 0))])
    capture = load_capture(tmp_path / "a")
    np.testing.assert_array_equal(capture.vertices, tensors["vertices"])
    np.testing.assert_array_equal(capture.triangles, tensors["triangles"])
    assert capture.objects == ("Körper",)
    assert [view.rgba.shape for view in capture.views] == [(8, 8, 4), (16, 16, 4)]
    assert capture.views[0].rgba[3, 3].tolist() == [200, 30, 30, 255]
    assert (capture.views[1].camera.width, capture.views[1].camera.height) == (16, 16)


BAD_TENSORS = {
    "no faces": ("triangles", np.zeros((0, 3), np.int32), "no faces"),
    "a vertex index too large": ("triangles", np.array([[0, 1, 4]], np.int32), r"outside 0\.\.3"),
    "a negative vertex index": ("triangles", np.array([[0, 1, -1]], np.int32), r"outside 0\.\.3"),
    "quads": ("triangles", np.zeros((1, 4), np.int32), r"triangles in asset\.safetensors is I32 \[1, 4\]"),
    "unsigned triangles": ("triangles", np.zeros((1, 3), np.uint32), "triangles in .* is U32"),
    "double vertices": ("vertices", np.zeros((4, 3)), "vertices in .* is F64"),
    "flat vertices": ("vertices", np.zeros(12, np.float32), r"vertices in .* is F32 \[12\]"),
    "vertices not numbers": (
        "vertices",
        np.full((4, 3), np.nan, np.float32),
        "vertices holds values that are not finite",
    ),
    "infinite vertices": ("vertices", np.full((4, 3), np.inf, np.float32), "not finite"),
    "vertices far outside": ("vertices", np.full((4, 3), 7, np.float32), "lies 7 from the centre"),
    "an unknown object": ("object_id", np.array([0, 0, 0, 1], np.int32), "object ids do not match"),
    "a negative object": ("object_id", np.array([0, 0, 0, -1], np.int32), "object ids do not match"),
    "too few object ids": ("object_id", np.zeros(3, np.int32), "object ids do not match"),
    "a camera not a number": ("world_to_camera", np.full((2, 4, 4), np.nan, np.float32), "world_to_camera holds"),
    "a camera without focal length": ("intrinsics", np.zeros((2, 4), np.float32), "Camera 0 of the capture"),
    "intrinsics for one camera": ("intrinsics", np.ones((1, 4), np.float32), "2 cameras, 1 intrinsics and 2 pictures"),
    "a world not a number": ("world_from_unit", np.full((4, 4), np.nan), "world_from_unit holds"),
    "offsets for one picture": ("png_offsets", np.array([0, 10], np.int64), "2 cameras, 2 intrinsics and 1 pictures"),
    "offsets that fall": ("png_offsets", np.array([0, 80, 70], np.int64), "not increasing"),
    "offsets beyond the end": ("png_offsets", np.array([0, 5, 10**15], np.int64), "not increasing"),
    "negative offsets": ("png_offsets", np.array([-5, 5, 10], np.int64), "not increasing"),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_a_capture_with_a_bad_tensor_is_refused_with_the_reason(tmp_path, name):
    tensor, value, message = BAD_TENSORS[name]
    with pytest.raises((CaptureError, FileFormatError), match=message) as caught:
        load_capture(write(tmp_path, capture_tensors() | {tensor: value}))
    assert caught.value.hint


@pytest.mark.parametrize("missing", list(capture_tensors()))
def test_a_capture_that_lacks_a_tensor_says_which(tmp_path, missing):
    tensors = capture_tensors()
    del tensors[missing]
    with pytest.raises(FileFormatError, match=f"lacks the tensor {missing}"):
        load_capture(write(tmp_path, tensors))


@pytest.mark.parametrize("objects", ["", "[", "5", '"Body"', '{"Body": 1}', "[1]", "null", "[" * 100_000])
def test_objects_must_be_a_list_of_names(tmp_path, objects):
    with pytest.raises(FileFormatError, match=r"objects"):
        load_capture(write(tmp_path, objects=objects))


def test_another_format_and_another_version_are_told_apart(tmp_path):
    with pytest.raises(FileFormatError, match="not a gvf-capture file"):
        load_capture(write(tmp_path, format="gvf-animation"))
    with pytest.raises(FileFormatError, match=r"version 2 of gvf-capture, expected 1.*Update"):
        load_capture(write(tmp_path, version="2"))


def test_a_capture_without_views_is_refused(tmp_path):
    tensors = capture_tensors() | {
        "world_to_camera": np.zeros((0, 4, 4), np.float32),
        "intrinsics": np.zeros((0, 4), np.float32),
        "png": np.zeros(0, np.uint8),
        "png_offsets": np.zeros(1, np.int64),
    }
    with pytest.raises(CaptureError, match="no views"):
        load_capture(write(tmp_path, tensors))


@pytest.mark.parametrize(
    "broken", [b"no picture at all", png()[:40], png()[:20] + b"\xff" * 60, b"GIF89a" + b"\0" * 50]
)
def test_a_view_that_is_no_readable_png_is_named_by_its_number(tmp_path, broken):
    with pytest.raises(FileFormatError, match=r"Picture 1 of asset\.safetensors"):
        load_capture(write(tmp_path, capture_tensors(png(), broken)))


def test_a_small_png_that_claims_to_be_huge_is_refused_before_it_is_unpacked(tmp_path):
    for side in (5000, 50_000, 2**31 - 1):
        header = struct.pack(">II", side, side) + png()[24:29]
        bomb = png()[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + png()[33:]
        with pytest.raises(FileFormatError, match="Picture 0"):
            load_capture(write(tmp_path, capture_tensors(bomb)))


def test_many_views_that_are_too_large_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(capture_module, "MAX_CAPTURE_PIXELS", 3 * 64 - 1)
    with pytest.raises(FileFormatError, match=r"Picture 2 .* have 192"):
        load_capture(write(tmp_path, capture_tensors(png(), png(), png())))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"\xff" * 64,
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 8) + b'{"a":1} ',
        struct.pack("<Q", 70) + b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,1]}}    ',
    ],
)
def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.safetensors"):
        load_capture(tmp_path / "a.safetensors")


def test_a_missing_file_and_a_folder_are_no_captures(tmp_path):
    with pytest.raises(FileFormatError, match="no file"):
        load_capture(tmp_path / "gone")
    with pytest.raises(FileFormatError, match=tmp_path.name):
        load_capture(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_capture_is_read_or_refused_but_never_breaks_the_reader(tmp_path, data):
    content = bytearray(write(tmp_path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        load_capture(tmp_path / "damaged")
    except GvfError as error:
        assert error.message


# Animations


def animation(frames: int = 3, count: int = 6) -> Animation:
    generator = torch.Generator().manual_seed(0)
    quaternions = torch.randn(count, 4, generator=generator)
    splats = Splats(
        means=torch.rand(count, 3, generator=generator) - 0.5,
        quaternions=quaternions / quaternions.norm(dim=1, keepdim=True),
        scales=torch.full((count, 3), 0.02),
        opacities=torch.full((count,), 0.9),
        colors=torch.rand(count, 3, generator=generator),
    )
    deltas = torch.zeros(frames, count, 14)
    deltas[1:, :, VariationField.MEANS] = 0.1 * torch.randn(frames - 1, count, 3, generator=generator)
    vertices = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, 4, 3)).astype(np.float32)
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = (1, 2, 3)
    provenance = {"engine": "fit", "warnings": ["Größe"], "seconds": {"a": 0.5}}
    return Animation(Gaussians.from_splats(splats), VariationField(deltas), vertices, matrix, 23.976, provenance)


def test_the_extension_reads_the_animation_that_the_core_writes(tmp_path):
    original = animation()
    save_animation(tmp_path / "a", original)
    read = read_animation(tmp_path / "a")
    splats = original.gaussians.activate(original.variation.deltas)
    np.testing.assert_array_equal(read.means, splats.means)
    np.testing.assert_array_equal(read.vertices, original.vertices)
    np.testing.assert_array_equal(read.world_from_unit, original.world_from_unit)
    np.testing.assert_allclose(read.quaternions[0], splats.quaternions[0], atol=1e-3)
    np.testing.assert_allclose(read.scales[0], splats.scales[0], rtol=1e-3)
    np.testing.assert_allclose(read.opacities[0], splats.opacities[0], atol=1e-3)
    assert read.fps == 23.976
    assert read.provenance == original.provenance
    assert (read.frame_count, read.gaussian_count, read.vertex_count) == (3, 6, 4)


def test_an_animation_in_whose_place_a_folder_stands_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotWrittenError, match=rf"could not be written to {tmp_path / 'a'} .* choose another place"):
        save_animation(tmp_path / "a", animation())
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_an_animation_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path):
    # A limit on the size of files stands in for a full disk.
    resource = pytest.importorskip("resource", reason="This system has no limits of that kind.")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(FileNotWrittenError, match="Free some disk space"):
            save_animation(tmp_path / "a", animation())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "tracks"), [(float("nan"), "means"), (float("inf"), "means, vertices")])
def test_an_animation_that_is_not_finite_is_not_stored(tmp_path, value, tracks):
    broken = animation()
    broken.variation.deltas[1, 2, VariationField.MEANS] = value
    if "vertices" in tracks:
        broken.vertices[1, 2] = value
    with pytest.raises(SamplingError, match=f"Not finite in the animation: {tracks}"):
        save_animation(tmp_path / "a", broken)
    assert list(tmp_path.iterdir()) == []


def test_tracks_that_never_change_are_stored_once(tmp_path):
    save_animation(tmp_path / "a", animation())
    tensors = load_file(tmp_path / "a")
    assert {
        name: len(tensors[name]) for name in ("means", "vertices", "colors", "scales", "quaternions", "opacities")
    } == {
        "means": 3,
        "vertices": 3,
        "colors": 1,
        "scales": 1,
        "quaternions": 1,
        "opacities": 1,
    }


def test_colours_are_stored_linear(tmp_path):
    splats = (
        animation(2, 3)
        .gaussians.activate()
        ._replace(colors=torch.tensor([[0.0, 0.04, 1.0], [0.5, 0.2, 0.8], [0.04045, 0.041, 0.9]]))
    )
    original = animation(2, 3)
    gray = Animation(
        Gaussians.from_splats(splats), original.variation, original.vertices, original.world_from_unit, 24.0, {}
    )
    save_animation(tmp_path / "a", gray)
    srgb = splats.colors.numpy()
    exact = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(read_animation(tmp_path / "a").colors[0], exact, atol=5e-4)


def test_the_same_animation_gives_the_same_tracks(tmp_path):
    for name in ("a", "b"):
        save_animation(tmp_path / name, animation())
    first, second = load_file(tmp_path / "a"), load_file(tmp_path / "b")
    assert first.keys() == second.keys()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_the_provenance_is_one_json_object_in_the_header(tmp_path):
    save_animation(tmp_path / "a", animation())
    content = (tmp_path / "a").read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert json.loads(header["__metadata__"]["provenance"])["engine"] == "fit"
    assert header["__metadata__"]["format"] == "gvf-animation"

"""Exported Gaussians are what other programs expect, and come back as they were; bad files are refused in words."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_gaussians import some_splats

from gvf_core.errors import Cancelled, FileFormatError, FileNotWrittenError
from gvf_core.export import read_ply, write_ply, write_ply_sequence
from gvf_core.export.ply import COLUMNS, MAX_GAUSSIANS
from gvf_core.gaussians import SH_DC, Gaussians, Splats, VariationField
from gvf_core.rendering import orbit_camera, rasterize
from gvf_core.rendering.camera import Camera

TURN = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
"""The official change of axes."""


@pytest.fixture
def file(tmp_path) -> Path:
    """A good file of 40 Gaussians."""
    write_ply(tmp_path / "good.ply", some_splats())
    return tmp_path / "good.ply"


def columns(path: Path) -> dict[str, np.ndarray]:
    """The vertex columns as trimesh reads them."""
    with path.open("rb") as opened:
        raw = trimesh.exchange.ply.load_ply(opened)["metadata"]["_ply_raw"]
    return {name: np.array(raw["vertex"]["data"][name]).reshape(-1) for name in raw["vertex"]["properties"]}


def together(path: Path, prefix: str, count: int) -> torch.Tensor:
    """The columns prefix0, prefix1, ... of a file."""
    found = columns(path)
    return torch.from_numpy(np.stack([found[f"{prefix}{index}"] for index in range(count)], axis=1))


def read_like_a_viewer(path: Path) -> Splats:
    """Read as the original code does, without our reader: no change of axes, normalised quaternions."""
    found = columns(path)
    quaternions = together(path, "rot_", 4)
    return Splats(
        means=torch.from_numpy(np.stack([found[axis] for axis in "xyz"], axis=1)),
        quaternions=quaternions / quaternions.norm(dim=1, keepdim=True),
        scales=together(path, "scale_", 3).exp(),
        opacities=torch.from_numpy(found["opacity"]).sigmoid(),
        colors=(SH_DC * together(path, "f_dc_", 3) + 0.5).clamp_min(0),
    )


def covariances(splats: Splats) -> np.ndarray:
    w, x, y, z = splats.quaternions.double().numpy().T
    rotations = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    half = np.moveaxis(rotations, -1, 0) * splats.scales.double().numpy()[:, None]
    return half @ half.transpose(0, 2, 1)


@pytest.mark.parametrize("up", ["-y", "z"])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_what_is_written_comes_back(tmp_path, up, count):
    splats = Gaussians.from_splats(some_splats(count)).activate()
    write_ply(tmp_path / "a.ply", splats, up=up)
    again = read_ply(tmp_path / "a.ply", up=up)
    assert torch.equal(again.means, splats.means)
    torch.testing.assert_close(again.scales, splats.scales, rtol=1e-6, atol=0)
    torch.testing.assert_close(again.opacities, splats.opacities, rtol=1e-6, atol=0)
    torch.testing.assert_close(again.quaternions, splats.quaternions, rtol=0, atol=3e-7)
    torch.testing.assert_close(again.colors, splats.colors, rtol=0, atol=3e-7)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.floats(0, 2**100, width=32),
    st.floats(0, 1, width=32),
    st.floats(0, 2, width=32),
    st.floats(-(2**100), 2**100, width=32),
)
def test_every_value_that_a_splat_can_have_is_finite_in_the_file_and_comes_back(
    tmp_path, scale, opacity, color, position
):
    splats = some_splats(1)._replace(
        means=torch.full((1, 3), position),
        scales=torch.full((1, 3), scale),
        opacities=torch.tensor([opacity]),
        colors=torch.full((1, 3), color),
    )
    write_ply(tmp_path / "a.ply", splats)
    assert all(np.isfinite(column).all() for column in columns(tmp_path / "a.ply").values())
    again = read_ply(tmp_path / "a.ply")
    assert torch.equal(again.means, splats.means)
    assert again.scales[0, 0].item() == pytest.approx(scale, rel=1e-5, abs=2e-38)
    assert again.opacities.item() == pytest.approx(opacity, rel=1e-6, abs=3e-9)
    assert again.colors[0, 0].item() == pytest.approx(color, abs=3e-7)


def test_full_opacity_comes_back_full(tmp_path):
    write_ply(tmp_path / "a.ply", some_splats(1)._replace(opacities=torch.ones(1)))
    assert read_ply(tmp_path / "a.ply").opacities.item() == 1


def test_another_program_sees_the_columns_of_the_original_code(file):
    found, splats = columns(file), some_splats()
    assert tuple(found) == COLUMNS
    assert all(column.dtype == np.float32 and column.shape == (40,) for column in found.values())
    assert not any(found[f"n{axis}"].any() for axis in "xyz")
    x, y, z = splats.means.numpy().T
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["y"], -z)
    np.testing.assert_array_equal(found["z"], y)
    torch.testing.assert_close(together(file, "f_dc_", 3), (splats.colors - 0.5) / SH_DC)
    torch.testing.assert_close(together(file, "scale_", 3), splats.scales.log())
    torch.testing.assert_close(torch.from_numpy(found["opacity"]), splats.opacities.logit())
    assert torch.linalg.norm(together(file, "rot_", 4), dim=1).tolist() == pytest.approx([1] * 40)


def test_with_z_up_positions_and_rotations_stay(tmp_path):
    splats = some_splats()
    write_ply(tmp_path / "a.ply", splats, up="z")
    seen = read_like_a_viewer(tmp_path / "a.ply")
    assert torch.equal(seen.means, splats.means)
    torch.testing.assert_close(seen.quaternions, splats.quaternions)


def test_the_change_of_axes_turns_the_gaussians_themselves(file):
    seen, splats = read_like_a_viewer(file), some_splats()
    np.testing.assert_allclose(seen.means.numpy(), splats.means.numpy() @ TURN.T, atol=1e-7)
    expected = TURN @ covariances(splats) @ TURN.T
    np.testing.assert_allclose(covariances(seen), expected, rtol=1e-5, atol=1e-8)


def test_the_exported_gaussians_look_the_same_from_the_turned_camera(file):
    camera = orbit_camera(30, 20, size=64)
    back = np.eye(4)
    back[:3, :3] = TURN.T
    turned = Camera(camera.world_to_camera @ back, camera.intrinsics, camera.width, camera.height)
    expected, seen = rasterize(some_splats(), camera), rasterize(read_like_a_viewer(file), turned)
    assert expected.alpha.max() > 0.5
    torch.testing.assert_close(seen.color, expected.color, rtol=0, atol=1e-4)
    torch.testing.assert_close(seen.alpha, expected.alpha, rtol=0, atol=1e-4)


def test_what_is_up_in_the_scene_is_up_where_y_points_down(tmp_path):
    splats = some_splats(1)._replace(means=torch.tensor([[0.0, 0.0, 0.4]]))
    write_ply(tmp_path / "a.ply", splats)
    assert columns(tmp_path / "a.ply")["y"][0] == pytest.approx(-0.4)


# Sequences


def some_motion(frames: int = 3) -> tuple[Gaussians, VariationField]:
    gaussians = Gaussians.from_splats(some_splats())
    generator = torch.Generator().manual_seed(1)
    return gaussians, VariationField(0.1 * torch.randn(frames, 40, 14, generator=generator))


def test_a_sequence_is_one_file_per_frame_with_the_variation_in_it(tmp_path):
    gaussians, variation = some_motion()
    heard: list[float] = []
    paths = write_ply_sequence(tmp_path, gaussians, variation, heard.append)
    assert [path.name for path in paths] == ["frame_0000.ply", "frame_0001.ply", "frame_0002.ply"]
    assert sorted(tmp_path.iterdir()) == paths
    assert heard == pytest.approx([0, 1 / 3, 2 / 3])
    for path, deltas in zip(paths, variation.deltas, strict=True):
        for actual, expected in zip(read_ply(path), gaussians.activate(deltas), strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_stopping_leaves_the_frames_of_before(tmp_path):
    def stop(fraction: float) -> None:
        if fraction > 0.5:
            raise Cancelled

    gaussians, variation = some_motion()
    paths = write_ply_sequence(tmp_path, gaussians, variation)
    before = [path.read_bytes() for path in paths]
    with pytest.raises(Cancelled):
        write_ply_sequence(tmp_path, gaussians, VariationField(2 * variation.deltas), stop)
    assert sorted(tmp_path.iterdir()) == paths
    assert [path.read_bytes() for path in paths] == before


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(FileNotWrittenError, match=r"a\.ply could not be written \(No such file"):
        write_ply(tmp_path / "missing" / "a.ply", some_splats())
    with pytest.raises(FileNotWrittenError, match=r"missing could not be written \(No such file"):
        write_ply_sequence(tmp_path / "missing", *some_motion())
    (tmp_path / "a.ply").mkdir()
    with pytest.raises(FileNotWrittenError, match=r"a\.ply could not be written"):
        write_ply(tmp_path / "a.ply", some_splats())
    assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # No file may grow larger: writing fails half way, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(FileNotWrittenError, match="Free some disk space"):
            write_ply(tmp_path / "a.ply", some_splats())
        with pytest.raises(FileNotWrittenError, match="Free some disk space"):
            write_ply_sequence(tmp_path, *some_motion())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", Splats._fields)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_not_written(tmp_path, field, value):
    splats = some_splats()
    getattr(splats, field)[7] = value
    with pytest.raises(FileNotWrittenError, match=r"1 of 40 Gaussians .* the first one number 7"):
        write_ply(tmp_path / "a.ply", splats)
    assert list(tmp_path.iterdir()) == []


def test_frames_together_are_not_written_as_one(tmp_path):
    splats = Splats(*(field[None] for field in some_splats()))
    with pytest.raises(FileNotWrittenError, match="one frame at a time"):
        write_ply(tmp_path / "a.ply", splats)


# Reading what others wrote


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode(), 1)

    return change


def with_value(column: str, value: float) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        start = content.index(b"end_header\n") + len(b"end_header\n")
        table = np.frombuffer(content[start:], "<f4").reshape(40, -1).copy()
        table[3, COLUMNS.index(column)] = value
        return content[:start] + table.tobytes()

    return change


BAD = {
    "nothing": (lambda content: b"", "is not a PLY file"),
    "text": (lambda content: b"solid\n" + content, "is not a PLY file"),
    "no end of the header": (replaced("end_header", "end"), "is not a PLY file"),
    "a header without end": (replaced("end_header", "comment " + "x" * 100_000 + "\nend_header"), "is not a PLY file"),
    "a header that is not ASCII": (replaced("ply\n", "ply\ncomment Größe\n"), "header is not ASCII"),
    "ASCII": (replaced("binary_little_endian", "ascii"), "format 'ascii', not binary_little_endian"),
    "big endian": (replaced("binary_little_endian", "binary_big_endian"), "format 'binary_big_endian'"),
    "no format": (replaced("format binary_little_endian 1.0\n", ""), "format 'nothing'"),
    "a format without name": (replaced("format binary_little_endian 1.0\n", "format\n"), "format ''"),
    "a missing column": (replaced("property float opacity\n", ""), "lacks opacity as float"),
    "a double column": (replaced("property float rot_3", "property double rot_3"), "lacks rot_3 as float"),
    "a column twice": (replaced("property float nx", "property float ny"), "column 'ny' twice"),
    "an unknown type": (replaced("property float nx", "property half nx"), "header line 'property half nx'"),
    "a list": (replaced("property float nx", "property list uchar int nx"), "header line 'property list uchar int nx'"),
    "many columns": (
        replaced("end_header", "".join(f"property float a{i}\n" for i in range(100)) + "end_header"),
        "117 columns",
    ),
    "another element": (replaced("end_header", "element face 0\nend_header"), "holds vertex, face, expected vertex"),
    "a compressed file": (replaced("element vertex", "element chunk 1\nelement vertex"), "holds chunk, vertex"),
    "no element": (replaced("element vertex 40\n", ""), "holds nothing, expected vertex"),
    "a nameless element": (replaced("element vertex 40\n", "element\n"), "holds nothing, expected vertex"),
    "a column before the element": (replaced("element", "property float a\nelement"), "expected vertex alone"),
    "no count": (replaced("vertex 40", "vertex"), "no valid number of Gaussians"),
    "a negative count": (replaced("vertex 40", "vertex -1"), "no valid number of Gaussians: '-1'"),
    "a count in words": (replaced("vertex 40", "vertex forty"), "no valid number of Gaussians: 'forty'"),
    "a count of a million digits": (replaced("vertex 40", "vertex " + "9" * 10_000), "no valid number of Gaussians"),
    "a count beyond memory": (replaced("vertex 40", "vertex 999999999"), f"more than {MAX_GAUSSIANS}"),
    "a count too large": (replaced("vertex 40", "vertex 9999999"), "announces 9999999 Gaussians, which need 68"),
    "a count too small": (replaced("vertex 40", "vertex 39"), "announces 39 Gaussians"),
    "a missing byte": (lambda content: content[:-1], "announces 40 Gaussians"),
    "an extra byte": (lambda content: content + b"\0", "announces 40 Gaussians"),
    "a position that is no number": (with_value("x", math.nan), "1 of the 40 Gaussians .* number 3"),
    "an endless opacity": (with_value("opacity", math.inf), "1 of the 40 Gaussians"),
    "a scale that overflows": (with_value("scale_1", 100), "1 of the 40 Gaussians"),
    "a colour that is not finite": (with_value("f_dc_2", -math.inf), "1 of the 40 Gaussians"),
}


@pytest.mark.parametrize(("change", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_in_words(file, change, sentence):
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(FileFormatError, match=sentence) as caught:
        read_ply(file)
    assert caught.value.hint
    assert len(str(caught.value)) < 500


def test_a_gaussian_without_rotation_is_refused(file):
    content = file.read_bytes()
    for index in range(4):
        content = with_value(f"rot_{index}", 0)(content)
    file.write_bytes(content)
    with pytest.raises(FileFormatError, match="no rotation"):
        read_ply(file)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.ply", Path("/dev/zero")):
        with pytest.raises(FileFormatError, match="There is no file"):
            read_ply(path)


def test_columns_in_another_order_more_of_them_and_comments_are_read(file, tmp_path):
    found = columns(file)
    names = [name for name in reversed(COLUMNS) if not name.startswith("n")]
    row = np.dtype([("f_rest_0", "<f4"), *((name, "<f4") for name in names), ("label", "<u2")])
    table = np.zeros(40, row)
    for name in names:
        table[name] = found[name]
    lines = ["ply", "comment of somebody else", "format binary_little_endian 1.0", "obj_info x", "element vertex 40"]
    lines += ["property float32 f_rest_0", *(f"property float {name}" for name in names), "property ushort label"]
    (tmp_path / "other.ply").write_bytes("\r\n".join([*lines, "end_header", ""]).encode() + table.tobytes())
    for actual, expected in zip(read_ply(tmp_path / "other.ply"), read_ply(file), strict=True):
        assert torch.equal(actual, expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_but_never_crashes(file, data):
    content = bytearray(file.read_bytes())
    header = content.index(b"end_header\n") + 11
    try:
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, header + 100))
            end = start + data.draw(st.integers(0, 20))
            content[start:end] = data.draw(st.binary(max_size=20))
        damaged = file.with_name("damaged.ply")
        damaged.write_bytes(content)
        assert all(field.isfinite().all() for field in read_ply(damaged))
    except FileFormatError:
        pass

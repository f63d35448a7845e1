"""`gvf train prepare`: files in, clips to train on out; damaged ones are named, and a second call changes nothing."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from gvf_core import cli
from gvf_core.rendering.mesh import rasterize_mesh
from gvf_core.training.clip_record import POINTS, ViewRole, read_clip
from tests.e2e.animated_beam import export_animated

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module"),
    pytest.mark.timeout(600),
]
FRAMES, VIEWS, TARGETS, SIZE = 6, 3, 1, 32
PICTURES = ("--views", VIEWS, "--targets", TARGETS, "--size", SIZE, "--samples", 1)
QUICK = ("--frames", FRAMES, "--keep-vertices", "--procedural", 1, *PICTURES)


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    """A beam that slides and nods in "Slide" and waits in "Wait", a still ball, and a file that is none."""
    import bpy

    folder = tmp_path_factory.mktemp("data") / "assets"
    folder.mkdir()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_uv_sphere_add(segments=12, ring_count=8)
    bpy.ops.wm.obj_export(filepath=str(folder / "ball.obj"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_cube_add(size=1)
    export_animated(bpy.context.object, folder / "beam.glb", last_frame=25)
    (folder / "broken.glb").write_bytes(b"glTF and nothing else")
    (folder.parent / "assets.csv").write_text("name,category,family\nbeam,tool,beams\nball,toy,balls\n")
    return folder


@pytest.fixture(scope="module")
def output(assets, tmp_path_factory):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("prepared") / "out"
    assert prepare(assets, folder) == 0
    return folder


def prepare(assets, folder, *options) -> int:
    return cli.main([str(word) for word in ("train", "prepare", assets, "-o", folder, *QUICK, *options)])


def report(folder) -> dict:
    return json.loads((folder / "report.json").read_text())


def clips(folder) -> dict:
    """Records by asset and origin."""
    records = [read_clip(path) for path in folder.glob("t*/*.safetensors")]
    return {(record.family, record.origin if record.origin == "asset" else "made up"): record for record in records}


def test_every_clip_that_moves_is_there_and_the_others_are_named(output):
    assert set(clips(output)) == {("beams", "asset"), ("beams", "made up"), ("balls", "made up")}
    figures = report(output)
    assert figures["clips"] == 3 and figures["pictures"] == 3 * (VIEWS + FRAMES + FRAMES * TARGETS)
    left_out = {(row["asset"], row["clip"]): row["why"] for row in figures["left_out"]}
    assert set(left_out) == {("beam", "Wait"), ("broken", "")}
    assert "broken.glb" in left_out["broken", ""] and "on average" in left_out["beam", "Wait"]
    assert figures["categories"]["tool"]["left out"] == 1
    text = (output / "report.md").read_text()
    assert "broken" in text and "aesthetic" in text


def test_a_clip_is_one_motion_in_one_frame(output):
    record = clips(output)["beams", "asset"]
    assert record.points.shape == (FRAMES, POINTS, 3) and record.fps == pytest.approx(24, rel=0.01)
    box = np.ptp(record.points.reshape(-1, 3), axis=0)
    assert box.max() == pytest.approx(1, abs=0.02)
    # The rest pose is smaller: the box is that of all frames. The beam slides up.
    assert np.ptp(record.vertices, axis=0).max() < 0.999
    assert (record.points[-1] - record.points[0])[:, 2].mean() > 0.02
    assert record.category == "tool"
    np.testing.assert_array_equal(record.vertex_frames[0], record.vertices)
    used = record.vertex_frames.reshape(-1, 3)
    np.testing.assert_allclose(used.min(axis=0) + used.max(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("which", [("beams", "asset"), ("beams", "made up"), ("balls", "made up")])
def test_pictures_show_the_mesh_of_their_frame(output, which):
    record = clips(output)[which]
    assert len(record.views(ViewRole.CANONICAL)) == VIEWS
    canonical = record.views(ViewRole.CANONICAL) + record.views(ViewRole.CONDITION, 0)
    for index in canonical:
        view = record.view(index)
        assert view.rgba.shape == (SIZE, SIZE, 4)
        covered = rasterize_mesh(record.vertices, record.triangles, view.camera).triangle >= 0
        # With one sample per pixel, contours may be off by one.
        assert ((view.rgba[..., 3] > 127) == covered).mean() > 0.95
    for frame in range(FRAMES):
        for index in record.views(ViewRole.TARGET, frame):
            view = record.view(index)
            pixels, _ = view.camera.project(record.points[frame].astype(np.float64))
            column, row = np.clip(pixels.T.astype(int), 0, SIZE - 1)
            assert (view.rgba[row, column, 3] > 0).mean() > 0.9


def test_a_second_call_changes_nothing(assets, output):
    files = [path for path in output.rglob("*") if path.suffix in (".safetensors", ".png")]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in output.glob("t*/*.safetensors")}
    figures = report(output)
    assert prepare(assets, output) == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in before} == before
    assert report(output) == figures
    assert sorted(files) == sorted(path for path in output.rglob("*") if path.suffix in (".safetensors", ".png"))


def test_sheets_of_pictures_can_be_opened(output):
    sheets = sorted((output / "sheets").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["tool.png", "toy.png"]
    assert Image.open(sheets[0]).width > 500


def test_mistakes_are_sentences(assets, output, tmp_path, capsys):
    assert prepare(assets, output, "--views", 9) == 1
    assert "views 3 instead of 9" in capsys.readouterr().err
    assert prepare(tmp_path, tmp_path / "out") == 1
    assert "no animated file" in capsys.readouterr().err
    assert prepare(assets, tmp_path / "out", "--jobs", 0) == 1
    assert "--jobs" in capsys.readouterr().err

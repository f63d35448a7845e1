"""The panels, drawn into a layout that remembers what it was told."""

import socket
from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout, panel_context

from gvf_blender.core.errors import GvfBlenderError
from gvf_blender.diffusion_properties import DiffusionProperties

HANDSHAKE = '{"service": "gvf", "address": "http://127.0.0.1:4321", "token": "secret", "pid": 1}'


@pytest.fixture
def draw(addon, monkeypatch):
    """Draws a panel with every socket forbidden."""

    def forbidden(*_, **__):
        raise AssertionError("a panel opened a socket")

    def draw_panel(name, width=280):
        layout = RecordingLayout()
        context = panel_context(width)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", forbidden)
            patch.setattr(socket, "create_connection", forbidden)
            getattr(bpy.types, name).draw(SimpleNamespace(layout=layout), context)
        return layout

    return draw_panel


@pytest.fixture
def ready(cube, video, tmp_path):
    """Everything that the Animate button needs."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "server.json").write_text(HANDSHAKE)
    bpy.context.scene.gvf.video = str(video)


def test_the_panel_offers_every_setting_and_an_enabled_button(ready, draw):
    layout = draw("GVF_PT_animate")
    quality = draw("GVF_PT_quality")
    shown = set(layout.names("prop")) | set(quality.names("prop"))
    assert shown >= {
        "video",
        "start_frame",
        "frame_stride",
        "max_frames",
        "azimuth",
        "elevation",
        "fov",
        "matting",
        "view",
        "outputs",
        "engine",
        "views",
        "preset",
        "gaussians",
        "seed",
    }
    assert "movable" in layout.names("prop_search")
    networks = draw("GVF_PT_diffusion")
    assert set(networks.names("prop")) >= set(DiffusionProperties.__annotations__) - {"steps"}
    assert layout.button("gvf.animate").enabled
    assert "gvf.view_from_viewport" in layout.names("operator")


def test_without_a_selection_the_button_is_off_and_says_why(ready, draw):
    bpy.ops.object.select_all(action="DESELECT")
    layout = draw("GVF_PT_animate")
    assert not layout.button("gvf.animate").enabled
    assert "No object is selected. Select the mesh objects to animate." in layout.texts()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "No driving video is chosen."),
        ("missing.mp4", "does not exist."),
        ("folder", "is a folder."),
        ("empty.mp4", "is empty."),
    ],
)
def test_with_an_unusable_video_the_button_is_off_and_says_why(ready, draw, tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.mp4").touch()
    bpy.context.scene.gvf.video = str(tmp_path / name) if name else ""
    layout = draw("GVF_PT_animate", width=4000)
    assert not layout.button("gvf.animate").enabled
    assert message in layout.texts()


def test_without_a_server_the_button_is_off_and_says_how_to_start_one(ready, draw, tmp_path):
    (tmp_path / "home" / "server.json").unlink()
    layout = draw("GVF_PT_animate", width=4000)
    assert not layout.button("gvf.animate").enabled
    assert "No server is running" in layout.texts()
    assert "python3 dev.py serve" in layout.texts()


def test_without_outputs_the_button_is_off_and_says_why(ready, draw):
    bpy.context.scene.gvf.outputs = set()
    layout = draw("GVF_PT_animate")
    assert not layout.button("gvf.animate").enabled
    assert "No output is chosen" in layout.texts()


def test_the_server_panel_shows_the_address_but_never_the_token(ready, draw):
    text = draw("GVF_PT_server").texts()
    assert "http://127.0.0.1:4321" in text
    assert "secret" not in text


def test_the_server_panel_says_what_to_do_when_none_runs(addon, draw):
    text = draw("GVF_PT_server", width=4000).texts()
    assert "No server is running" in text
    assert "python3 dev.py serve" in text


def test_a_running_job_shows_stage_percent_and_a_cancel_button(add_job, draw):
    add_job("running")
    layout = draw("GVF_PT_jobs", width=1000)
    ((_, factor, text),) = [entry for entry in layout.record if entry[0] == "progress"]
    assert 0 < factor < 1
    assert text == f"{factor:.0%}"
    assert "Tracking" in layout.texts()
    assert "gvf.cancel" in layout.names("operator")


def test_a_failed_job_shows_its_error_over_several_lines(add_job, draw):
    job = add_job("running")
    job._fail(GvfBlenderError("The video " + "very " * 20 + "long name cannot be read.", "Choose another video."))
    layout = draw("GVF_PT_jobs", width=200)
    lines = [entry[1] for entry in layout.record if entry[0] == "label"]
    assert "Choose another video." in layout.texts()
    assert max(len(line) for line in lines[1:]) <= 22
    assert "gvf.cancel" not in layout.names("operator")


def test_a_finished_job_offers_to_import_again(add_job, draw):
    job = add_job("capturing")
    job.run_to_end()
    layout = draw("GVF_PT_jobs")
    assert "gvf.import_result" in layout.names("operator")
    assert "Imported" in layout.texts()


def test_the_jobs_panel_survives_undo_and_file_load(add_job, draw):
    bpy.ops.ed.undo_push(message="Add Cube")
    job = add_job("capturing")
    job.run_to_end()
    bpy.ops.ed.undo_push(message="Import Animation")
    assert bpy.ops.ed.undo() == {"FINISHED"}
    assert job.imported is None
    assert "Imported" in draw("GVF_PT_jobs").texts()
    bpy.ops.wm.read_homefile(use_empty=True)
    assert "Imported" in draw("GVF_PT_jobs").texts()


def test_long_words_such_as_paths_are_broken(addon):
    from gvf_blender.ui.text import draw_sentence

    layout = RecordingLayout()
    context = SimpleNamespace(region=SimpleNamespace(width=200), preferences=bpy.context.preferences)
    draw_sentence(layout, context, "/a" * 100)
    assert len(layout.record) > 1
    assert "".join(layout.names("label")) == "/a" * 100


def test_the_preferences_draw_in_every_mode(addon):
    from gvf_blender.preferences import GVFPreferences

    for mode, shown in (("HANDSHAKE", "handshake_path"), ("ADDRESS", "token"), ("MANAGED", "python")):
        layout = RecordingLayout()
        preferences = SimpleNamespace(
            layout=layout,
            server_mode=mode,
            handshake_path="",
            defaults=bpy.context.scene.gvf,
            bl_rna=GVFPreferences.bl_rna,
        )
        GVFPreferences.draw(preferences, bpy.context)
        assert shown in layout.names("prop")

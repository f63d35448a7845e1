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


def second_row(layout):
    return next(entry[2] for entry in layout.record if entry[:2] == ("prop", "second_video"))


def test_a_second_video_takes_one_row_until_it_is_chosen(ready, video, draw):
    layout = draw("GVF_PT_animate")
    assert second_row(layout).enabled and "second_azimuth" not in layout.names("prop")
    assert layout.names("operator").count("gvf.view_from_viewport") == 1
    bpy.context.scene.gvf.second_video = str(video)
    layout = draw("GVF_PT_animate", width=4000)
    assert {"second_azimuth", "second_elevation"} <= set(layout.names("prop"))
    assert layout.names("operator").count("gvf.view_from_viewport") == 2
    assert "Both videos must show the same moments" in layout.texts()
    assert layout.button("gvf.animate").enabled


def test_diffusion_takes_a_second_video_only_where_it_is_refined(ready, video, draw):
    settings = bpy.context.scene.gvf
    settings.engine = "diffusion"
    assert "second_video" not in draw("GVF_PT_animate").names("prop")
    settings.second_video = str(video)
    layout = draw("GVF_PT_animate", width=4000)
    assert not second_row(layout).enabled and "only where Refine is above 0" in layout.texts()
    settings.refine_seconds = 30
    layout = draw("GVF_PT_animate", width=4000)
    assert second_row(layout).enabled and "only where Refine" not in layout.texts()


def test_with_an_unusable_second_video_the_button_is_off_until_the_engine_does_not_look_at_it(ready, draw, tmp_path):
    settings = bpy.context.scene.gvf
    settings.second_video = str(tmp_path / "side.mp4")
    layout = draw("GVF_PT_animate", width=4000)
    assert not layout.button("gvf.animate").enabled
    assert "side.mp4 does not exist" in layout.texts()
    settings.engine = "diffusion"
    layout = draw("GVF_PT_animate")
    assert layout.button("gvf.animate").enabled


def test_a_second_video_that_is_shorter_than_what_is_used_of_the_first_turns_the_button_off(
    ready, draw, tmp_path, monkeypatch
):
    from gvf_blender.operators import animate
    from gvf_blender.video_facts import VideoFacts

    frames = {"walk.mp4": 24, "side.mp4": 20}
    monkeypatch.setattr(animate, "known_facts", lambda path: VideoFacts(96, 64, 24.0, frames[path.name], 0))
    settings, side = bpy.context.scene.gvf, tmp_path / "side.mp4"
    side.write_bytes(b"side")
    settings.second_video = str(side)
    layout = draw("GVF_PT_animate", width=4000)
    assert not layout.button("gvf.animate").enabled
    assert "The second video has 20 frames to use, the first 24." in layout.texts()
    settings.max_frames = 20
    assert draw("GVF_PT_animate").button("gvf.animate").enabled


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
    assert "Press Install Server in the GVF tab, or start one yourself with: python3 dev.py serve" in layout.texts()
    assert "gvf.install_server" in layout.names("operator")


def test_while_something_else_is_missing_the_animate_panel_offers_no_installation(ready, draw, tmp_path):
    assert "gvf.install_server" not in draw("GVF_PT_animate").names("operator")
    (tmp_path / "home" / "server.json").unlink()
    bpy.context.scene.gvf.video = ""
    assert "gvf.install_server" not in draw("GVF_PT_animate").names("operator")


def test_without_outputs_the_button_is_off_and_says_why(ready, draw):
    bpy.context.scene.gvf.outputs = set()
    layout = draw("GVF_PT_animate")
    assert not layout.button("gvf.animate").enabled
    assert "No output is chosen" in layout.texts()


@pytest.fixture
def know(ready):
    """Lets the panel know which weights the server has."""
    from gvf_blender import server_watch
    from gvf_blender.core.server_facts import ServerFacts, ServerReport, ServerState
    from gvf_blender.core.weights_facts import WeightsEntry, WeightsFacts
    from gvf_blender.preferences import server_choice

    def know_weights(state, **sets):
        server_watch.look(server_choice(bpy.context))
        entry = WeightsEntry("latent-encoder", state, "", "", "animating", True, 1, "MIT", "")
        facts = ServerFacts("1", "ready", (), 1, ("auto", "fit", "diffusion"), {"released": False, **sets})
        report = ServerReport(ServerState.RUNNING, "", "", facts, WeightsFacts((entry,), None))
        server_watch.watch().report = report

    return know_weights


def test_the_engine_diffusion_without_weights_turns_the_button_off_and_says_where_they_are(know, draw):
    settings = bpy.context.scene.gvf
    settings.engine = "diffusion"
    assert draw("GVF_PT_animate").button("gvf.animate").enabled  # nothing is known yet
    know("missing")
    layout = draw("GVF_PT_animate", width=4000)
    assert not layout.button("gvf.animate").enabled
    assert "lacks weights that the engine Diffusion needs. Download them under Server > Weights" in layout.texts()
    settings.engine = "fit"
    assert draw("GVF_PT_animate").button("gvf.animate").enabled
    settings.engine = "diffusion"
    know("installed")
    assert draw("GVF_PT_animate").button("gvf.animate").enabled


def test_a_set_of_weights_that_the_server_has_not_turns_the_button_off(know, draw):
    settings = bpy.context.scene.gvf
    settings.engine, settings.weights = "diffusion", "mine"
    know("missing", random=False)
    layout = draw("GVF_PT_animate", width=4000)
    assert not layout.button("gvf.animate").enabled
    assert "no set of weights called mine" in layout.texts()
    settings.weights = "random"  # untrained: no result, but what tests are made with
    assert draw("GVF_PT_animate").button("gvf.animate").enabled


def test_a_vertex_group_that_is_gone_turns_the_button_off_and_stays_in_sight(ready, cube, draw):
    settings = bpy.context.scene.gvf
    settings.movable = "Fin"
    layout = draw("GVF_PT_animate", width=4000)
    assert not layout.button("gvf.animate").enabled
    assert "None of the objects has a vertex group called 'Fin'. Choose another group" in layout.texts()
    cube.vertex_groups.new(name="Fin")
    assert draw("GVF_PT_animate").button("gvf.animate").enabled
    bpy.ops.object.select_all(action="DESELECT")
    assert "movable" in draw("GVF_PT_animate").names("prop")
    bpy.ops.gvf.reset_settings()
    assert settings.movable == ""
    assert "movable" not in draw("GVF_PT_animate").names("prop")


def test_the_vertex_groups_of_what_hangs_on_the_selection_are_offered(ready, cube, draw):
    cube.vertex_groups.new(name="Fin")
    bpy.ops.object.empty_add()
    cube.parent = bpy.context.object
    cube.select_set(False)
    bpy.context.scene.gvf.movable = "Fin"
    layout = draw("GVF_PT_animate")
    assert "movable" in layout.names("prop_search")
    assert layout.button("gvf.animate").enabled


def test_the_server_panel_shows_the_address_but_never_the_token(ready, draw):
    text = draw("GVF_PT_server").texts()
    assert "http://127.0.0.1:4321" in text
    assert "secret" not in text


def test_the_server_panel_says_what_to_do_when_none_runs(addon, draw):
    layout = draw("GVF_PT_server", width=4000)
    assert "No server is running" in layout.texts()
    assert "Press Install Server in the GVF tab" in layout.texts()
    assert "gvf.install_server" in layout.names("operator")
    assert ("Blender is not allowed to go online" in layout.texts()) != bpy.app.online_access


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
    job.wait()
    layout = draw("GVF_PT_jobs")
    assert "gvf.import_result" in layout.names("operator")
    assert "Imported" in layout.texts()


def test_the_jobs_panel_survives_undo_and_file_load(add_job, draw):
    bpy.ops.ed.undo_push(message="Add Cube")
    job = add_job("capturing")
    job.wait()
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
    # No server runs, as nothing is chosen or installed yet.
    assert "gvf.install_server" in layout.names("operator")
    assert "Press Install Server" in layout.texts()

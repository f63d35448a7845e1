"""Looking at the driving video before a job: from the panel and from the console, with a real server."""

import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from video_files import moving_square, write_video

PATIENCE = 120.0


@pytest.fixture
def walk(tmp_path):
    return write_video(tmp_path / "walk.mov", moving_square(6, 96, 64), "png", "rgb24")


@pytest.fixture
def scene(addon, server, walk, monkeypatch):
    """The open scene with a video, and the server of the preferences."""
    from gvf_blender.operators import check_video
    from gvf_blender.server_choice import ServerChoice

    choice = ServerChoice(handshake_path=server.handshake)
    monkeypatch.setattr(check_video, "server_choice", lambda context: choice)
    bpy.context.scene.gvf.video = str(walk)
    return bpy.context.scene


def panel() -> RecordingLayout:
    """What the panel draws below the choice of the mask."""
    from gvf_blender.ui.animate_panel import _draw_look

    layout = RecordingLayout()
    region = SimpleNamespace(width=4000)
    _draw_look(layout, SimpleNamespace(scene=bpy.context.scene, region=region, preferences=bpy.context.preferences))
    return layout


def test_without_a_video_the_button_says_what_is_missing(addon):
    with pytest.raises(RuntimeError, match="No driving video is chosen"):
        bpy.ops.gvf.check_video()
    assert panel().names("operator") == ["gvf.check_video"]


def test_the_panel_shows_what_is_cut_out_and_that_nothing_speaks_against_it(scene):
    from gvf_blender.video_check import present_look

    assert bpy.ops.gvf.check_video() == {"FINISHED"}
    layout = panel()
    assert "Nothing else speaks against this video" in layout.texts()
    assert present_look().check.picture.startswith(b"\x89PNG")


def test_the_picture_is_drawn_where_blender_makes_icons(scene, monkeypatch):
    from gvf_blender.frame_picture import FramePicture

    shown = []
    monkeypatch.setattr(FramePicture, "show", lambda self, path: shown.append(path.read_bytes()))
    bpy.ops.gvf.check_video()
    assert shown[0].startswith(b"\x89PNG")
    assert "icon" not in [entry[0] for entry in panel().record], "without a window Blender makes none"
    monkeypatch.setattr(FramePicture, "icon", 7)
    assert ("icon", 7) in [entry[:2] for entry in panel().record]


@pytest.mark.parametrize("change", [{"matting": "plain"}, {"start_frame": 1}, {"max_frames": 3}, {"video": ""}])
def test_an_answer_about_something_else_is_not_shown(scene, change):
    bpy.ops.gvf.check_video()
    for name, value in change.items():
        setattr(scene.gvf, name, value)
    assert panel().names("operator") == ["gvf.check_video"]


def test_a_video_that_was_written_anew_is_looked_at_anew(scene, walk):
    bpy.ops.gvf.check_video()
    write_video(walk, moving_square(9, 96, 64), "png", "rgb24")
    assert "gvf.close_check" not in panel().names("operator")


def test_warnings_stand_in_the_panel(scene, walk):
    frames = moving_square(8, 96, 64)
    for frame in frames[4:]:
        frame[:] = 255
        frame[8:56, 40:90] = (20, 30, 200)
    write_video(walk, frames, "png", "rgb24")
    assert bpy.ops.gvf.check_video() == {"FINISHED"}
    assert "The picture jumps at frame 4" in panel().texts()


def test_a_refusal_is_told_in_the_servers_words_and_stays_in_the_panel(scene):
    scene.gvf.matting = "alpha"
    with pytest.raises(RuntimeError, match="no alpha channel"):
        bpy.ops.gvf.check_video()
    assert "no alpha channel" in panel().texts()
    assert bpy.ops.gvf.close_check() == {"FINISHED"}
    assert "no alpha channel" not in panel().texts()


def test_the_window_does_not_wait_and_a_closed_look_ends_unseen(scene, server, monkeypatch):
    from gvf_blender import server_watch
    from gvf_blender.client import connect
    from gvf_blender.video_check import present_look

    watch = server_watch.watch()
    monkeypatch.setattr(server_watch, "act", watch.act)
    look, may_connect = present_look(), threading.Event()

    def slowly():
        assert may_connect.wait(PATIENCE)
        return connect(server.handshake)

    look.begin(scene.gvf, slowly)
    assert look.is_running and "Looking at the video" in panel().texts()
    bpy.ops.gvf.close_check()
    assert panel().names("operator") == ["gvf.check_video"]
    may_connect.set()
    deadline = time.monotonic() + PATIENCE
    while watch.tick():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert look.check is None and not look.problem

    look.begin(scene.gvf, slowly)
    while watch.tick() or look.is_running:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert look.check is not None and look.check.frames == 6


def test_scripts_get_frames_warnings_and_the_picture(api, server, walk):
    check = api.check_video(walk, server=server.handshake, frame_stride=2)
    assert (check.frames, check.warnings) == (3, ()) and check.picture.startswith(b"\x89PNG")


def test_scripts_get_the_refusal(api, server, walk):
    from gvf_blender.core.errors import FileError, ServerError, SettingsError

    with pytest.raises(ServerError, match="no alpha channel"):
        api.check_video(walk, server=server.handshake, matting="alpha")
    with pytest.raises(SettingsError, match="magic"):
        api.check_video(walk, server=server.handshake, matting="magic")
    with pytest.raises(FileError, match="does not exist"):
        api.check_video(walk.with_name("none.mov"), server=server.handshake)

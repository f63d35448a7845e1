"""The Data Folder of the preferences: what goes there, and what stays where it is."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout, panel_context

from gvf_blender.client import Environment
from gvf_blender.client.server_process import ServerProcess
from gvf_blender.core.errors import FileError, ServerError
from gvf_blender.core.torch_build import TorchBuild

ROOT = Path(__file__).parents[2]


@pytest.fixture
def artist(enabled, tmp_path, monkeypatch):
    """The preferences of an artist whose environment names no folders."""
    monkeypatch.delenv("GVF_HOME")
    monkeypatch.delenv("GVF_MODELS_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "artist"))
    return enabled


def drawn(preferences):
    from gvf_blender.preferences import GVFPreferences

    layout = RecordingLayout()
    shown = {name: getattr(preferences, name) for name in ("server_mode", "python", "handshake_path", "defaults")}
    GVFPreferences.draw(SimpleNamespace(layout=layout, bl_rna=GVFPreferences.bl_rna, **shown), panel_context())
    return layout


def fill(folder):
    folder.mkdir(parents=True)
    (folder / "content").touch()


def test_everything_that_takes_space_goes_to_the_data_folder(artist, tmp_path):
    from gvf_blender.operators.start_frame import GVF_OT_render_start_frame
    from gvf_blender.preferences import results_folder, server_choice, tracks_folder

    home = tmp_path / "artist" / ".gvf"
    assert (results_folder(), tracks_folder()) == (home / "results", home / "tracks")
    assert str(home) in drawn(artist).texts()
    folder = tmp_path / "large disk"
    artist.data_folder = str(folder)
    artist.server_mode = "MANAGED"
    assert (results_folder(), tracks_folder()) == (folder / "results", folder / "tracks")
    places = server_choice(bpy.context).places
    assert (places.home, places.models) == (folder, folder / "models")
    asked = SimpleNamespace(filepath="")
    assert GVF_OT_render_start_frame._path(asked, "Cube") == folder / "start frames" / "Cube-start.png"


def test_a_new_server_environment_goes_there_and_one_that_is_used_is_updated_where_it_is(artist, tmp_path, monkeypatch):
    from gvf_blender import server_installation
    from gvf_blender.preferences import server_choice

    monkeypatch.setattr(server_installation, "_WHEEL_FOLDER", tmp_path)
    wheel = tmp_path / "gvf_blender-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"old")
    system = bpy.context.preferences.system
    monkeypatch.setattr(system, "use_online_access", True)
    first = tmp_path / "first disk"
    artist.data_folder = str(first)
    made = Environment(first / "environment")
    assert server_installation.new_installation(TorchBuild.CPU).python == made.python
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    made.is_for(TorchBuild.CPU)
    made.complete(wheel, TorchBuild.CPU)
    artist.server_mode, artist.python = "MANAGED", str(made.python)
    artist.data_folder = str(tmp_path / "second disk")
    wheel.write_bytes(b"new")
    server_installation.look_again()
    environment = server_choice(bpy.context).environment
    assert environment == made and server_installation.update_reason(environment) == server_installation.OUTDATED
    assert drawn(artist).labels("gvf.install_server") == ["Update Server"]
    system.use_online_access = False


def test_gvf_home_comes_first(artist, tmp_path, monkeypatch):
    from gvf_blender.preferences import results_folder, server_choice

    artist.data_folder, artist.server_mode = str(tmp_path / "chosen"), "MANAGED"
    monkeypatch.setenv("GVF_HOME", str(tmp_path / "farm"))
    assert results_folder() == tmp_path / "farm" / "results"
    assert server_choice(bpy.context).places is None
    assert "GVF_HOME names the folder" in drawn(artist).texts()


def test_the_preferences_tell_what_stays_at_which_earlier_place(artist, tmp_path):
    usual = tmp_path / "artist"
    fill(usual / ".local/share/gvf-blender/models")
    fill(usual / ".gvf/results")
    assert "stays there" not in drawn(artist).texts()
    first, second = tmp_path / "first", tmp_path / "second"
    artist.data_folder = str(first)
    fill(first / "tracks")
    texts = drawn(artist).texts()
    assert f"Weights, which a server with the present folder does not see: {usual}/.local" in texts
    assert f"import: {usual}/.gvf/results" in texts and str(first / "tracks") not in texts
    artist.data_folder = str(second)
    assert f"Tracks of unsaved files, which link to them: {first}/tracks" in drawn(artist).texts()
    artist.data_folder = ""
    texts = drawn(artist).texts()
    assert str(first / "tracks") in texts and ".gvf/results" not in texts
    assert (usual / ".gvf/results/content").exists(), "nothing is moved"


def test_a_folder_that_cannot_be_written_is_named(artist, tmp_path):
    from gvf_blender.preferences import results_folder, server_choice
    from gvf_blender.user_folder import job_folders

    (tmp_path / "file").touch()
    artist.data_folder, artist.server_mode = str(tmp_path / "file" / "data"), "MANAGED"
    assert f"The folder {tmp_path}/file/data cannot be written. Choose another Data Folder." in drawn(artist).texts()
    with pytest.raises(FileError, match=r"file/data/results .*another Data Folder"):
        job_folders(results_folder())
    choice = server_choice(bpy.context)
    with pytest.raises(ServerError, match=r"The Data Folder .*/file/data cannot be made"):
        choice.process.connect(Path(sys.executable), choice.places)


@pytest.mark.filterwarnings("ignore:.*blend relative")  # of Blender 5.0 and later, which cannot choose such a path
def test_a_folder_beside_a_blend_file_is_kept_in_full(artist, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    artist.data_folder = "//data"
    assert artist.data_folder == str(tmp_path / "data")
    assert artist.data_folders.splitlines() == [str(tmp_path / "data")]


def test_a_server_of_somebody_else_is_found_at_its_usual_place(artist, tmp_path):
    from gvf_blender.preferences import server_choice

    usual = tmp_path / "artist" / ".gvf"
    usual.mkdir(parents=True)
    (usual / "server.json").write_text('{"service": "gvf", "address": "http://127.0.0.1:99", "token": "t", "pid": 1}')
    artist.data_folder = str(tmp_path / "large disk")
    assert server_choice(bpy.context).locate() == "http://127.0.0.1:99"


def test_the_usual_place_of_weights_is_that_of_the_core(artist):
    from gvf_blender.user_folder import data_places
    from gvf_core.models.store import default_store

    assert data_places().models == default_store().root


def test_the_servers_process_keeps_its_data_in_the_folder(artist, tmp_path, monkeypatch):
    from gvf_blender.preferences import server_choice

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
    monkeypatch.setenv("GVF_SERVER_JOB_FUNCTION", "scripted_pipeline:run")
    monkeypatch.setenv("GVF_SERVER_UNPROBED", "1")
    artist.data_folder, artist.server_mode = str(tmp_path / "large disk"), "MANAGED"
    artist.python = sys.executable
    choice = server_choice(bpy.context)
    process = ServerProcess(tmp_path / "own", os.getpid())
    try:
        process.connect(choice.python, choice.places)
        told = Path(f"/proc/{process._process.pid}/environ").read_text().split("\0")
        assert {f"GVF_HOME={choice.places.home}", f"GVF_MODELS_DIR={choice.places.models}"} <= set(told)
        assert any(choice.places.jobs.iterdir())
        assert process.handshake == tmp_path / "own" / "server.json" and process.handshake.exists()
        assert not (tmp_path / "own" / "data").exists()
    finally:
        process.stop()

"""Tests of the bpy module, Blender without a window; a Python without it collects none of them."""

import importlib.util
import socket
import threading
import zipfile
from pathlib import Path

import pytest

if importlib.util.find_spec("bpy") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    # Before the tests import bmesh and mathutils, which exist only once bpy is loaded.
    import bpy


@pytest.fixture
def empty_scene():
    """The only scene of an empty file with factory settings; factory settings also unregister our extension."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


@pytest.fixture
def addon(empty_scene, tmp_path, monkeypatch):
    """The registered extension with a GVF_HOME of its own and a capture that takes a moment."""
    monkeypatch.setenv("GVF_HOME", str(tmp_path / "home"))
    import gvf_blender
    from gvf_blender import job
    from gvf_blender.capture import CaptureOptions

    monkeypatch.setattr(job, "CaptureOptions", lambda **options: CaptureOptions(views=2, size=16, samples=1))
    gvf_blender.register()
    yield gvf_blender
    gvf_blender.unregister()


@pytest.fixture
def enabled(empty_scene, tmp_path, monkeypatch):
    """The preferences of the extension, enabled as Blender enables an add-on."""
    import addon_utils

    monkeypatch.setenv("GVF_HOME", str(tmp_path / "home"))
    addon_utils.enable("gvf_blender", default_set=True)
    yield bpy.context.preferences.addons["gvf_blender"].preferences
    addon_utils.disable("gvf_blender", default_set=True)


@pytest.fixture
def archive(tmp_path):
    """The extension as a zip that Blender installs."""
    import gvf_blender

    package = Path(gvf_blender.__file__).parent
    path = tmp_path / "gvf_blender.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.write(package.parent / "blender_manifest.toml", "blender_manifest.toml")
        for file in package.rglob("*.py"):
            packed.write(file, file.relative_to(package))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server process, one for the tests of a file."""
    from server_process import running_server

    with running_server(tmp_path_factory.mktemp("gvf-home")) as running:
        yield running


@pytest.fixture
def main_thread_offline(monkeypatch):
    """Any connection from the main thread is a failure of the test."""
    real_connect = socket.socket.connect

    def connect(self, address):
        assert threading.current_thread() is not threading.main_thread(), f"the main thread connects to {address}"
        return real_connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def api(addon):
    """The extension's functions for scripts."""
    from gvf_blender import api

    return api


@pytest.fixture
def cube(addon):
    """A selected cube away from the origin."""
    bpy.ops.mesh.primitive_cube_add(size=2.0, location=(3.0, 1.0, 0.5))
    return bpy.context.object


@pytest.fixture
def video(tmp_path):
    """A file that passes for a driving video as far as the extension can tell."""
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"frames")
    return path


@pytest.fixture
def add_job(addon, cube, video, tmp_path):
    """Puts a job into the list that waits at a phase, with the server scripted."""
    from scripted_client import ScriptedClient

    from gvf_blender import job_list
    from gvf_blender.core.job_phase import Phase
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    clients = []

    def add(phase, client=None):
        client = client or ScriptedClient(hold_at=phase)
        clients.append(client)
        job = AnimateJob(make_request(cube, video, MotionSettings()), client.connect, tmp_path / "results")
        job_list.add(job)
        while job.phase is not Phase(phase):
            assert not job.finished, job.message
            job.poll()
        return job

    yield add
    for client in clients:
        client.released.set()

"""The server section: what is known without waiting, what threads fetch, and what the buttons do."""

import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import bpy
import pytest
from recording_layout import RecordingLayout

from gvf_blender.core.errors import ServerError
from gvf_blender.core.server_facts import ServerState

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@pytest.fixture
def watch(addon):
    from gvf_blender import server_watch

    return server_watch.watch()


@pytest.fixture
def draw(addon, monkeypatch):
    """Draws the server's panel with the given choice, with every socket forbidden."""
    from gvf_blender.ui import server_panel

    def draw_panel(choice):
        layout = RecordingLayout()
        context = SimpleNamespace(region=SimpleNamespace(width=4000), preferences=bpy.context.preferences)
        with monkeypatch.context() as patch:
            patch.setattr(server_panel, "server_choice", lambda context: choice)
            patch.setattr(socket, "socket", None)
            server_panel.GVF_PT_server.draw(SimpleNamespace(layout=layout), context)
        return layout

    return draw_panel


@pytest.fixture
def managed(addon, tmp_path, monkeypatch):
    """The choice of a server that Blender starts, with jobs that are made up."""
    from gvf_blender.managed_server import managed_server
    from gvf_blender.server_choice import ServerChoice

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
    monkeypatch.setenv("GVF_SERVER_JOB_FUNCTION", "scripted_pipeline:run")
    monkeypatch.setenv("GVF_SERVER_UNPROBED", "1")
    process = managed_server()
    yield ServerChoice(process=process, python=Path(sys.executable))
    process.stop()


def tick_until(watch, condition):
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        if watch._choice is not None:
            watch.look(watch._choice)  # somebody does all the time, however long a button takes on a busy machine
        watch.tick()
        pause.wait(0.01)


def test_the_panel_shows_what_a_running_server_tells(draw, watch, server):
    from gvf_blender.server_choice import ServerChoice

    choice = ServerChoice(handshake_path=server.handshake)
    assert draw(choice).texts().startswith("Checking: http://127.0.0.1:")
    tick_until(watch, lambda: watch.report.state is ServerState.RUNNING)
    layout = draw(choice)
    assert layout.texts().startswith(f"Running: {server.client.address}")
    for shown in ("Version", "cores", "GB", "Engines: Fit to Video, Diffusion", "Weights released"):
        assert shown in layout.texts()
    assert "gvf.unload_models" in layout.names("operator")
    assert not {"gvf.start_server", "gvf.install_server"} & set(layout.names("operator"))


def test_a_server_that_does_not_answer_keeps_one_thread_waiting_and_no_tick(watch, main_thread_offline):
    from gvf_blender.server_choice import ServerChoice

    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        choice = ServerChoice(address=f"http://127.0.0.1:{silent.getsockname()[1]}", token="t")
        for _ in range(20):
            watch.look(choice)
            assert watch.tick()
            watch._asked = float("-inf")  # as if it were time to ask again
        assert sum(thread.name == "gvf-server-watch" for thread in threading.enumerate()) == 1


def test_a_server_that_is_gone_is_named(draw, watch):
    from gvf_blender.api import diagnose
    from gvf_blender.server_choice import ServerChoice

    with socket.create_server(("127.0.0.1", 0)) as closed:
        choice = ServerChoice(address=f"http://127.0.0.1:{closed.getsockname()[1]}", token="t")
    draw(choice)
    tick_until(watch, lambda: watch.report.state is ServerState.UNREACHABLE)
    layout = draw(choice)
    assert "Nothing answers at" in layout.texts()
    # Somebody else's, so nothing is to be installed here.
    assert "gvf.install_server" not in layout.names("operator")
    assert "[unreachable]" in diagnose()


def test_a_defect_while_the_server_is_asked_is_shown_and_it_is_asked_again(draw, watch, server, monkeypatch):
    from gvf_blender import server_watch
    from gvf_blender.server_choice import ServerChoice

    choice = ServerChoice(handshake_path=server.handshake)
    with monkeypatch.context() as patch:
        patch.setattr(server_watch.ServerFacts, "from_json", lambda told: told["no such thing"].of_it())
        draw(choice)
        tick_until(watch, lambda: watch.report.state is ServerState.UNREACHABLE)
        patch.setattr(server_watch, "_asked", lambda choice, place: 1 // 0)
        tick_until(watch, lambda: "ZeroDivisionError" in watch.report.reason)
    tick_until(watch, lambda: watch.report.state is ServerState.RUNNING)


def test_when_nobody_looks_nothing_is_asked(watch, server):
    from gvf_blender.server_choice import ServerChoice

    assert not watch.tick()
    watch.look(ServerChoice(handshake_path=server.handshake))
    watch._looked = float("-inf")
    assert not watch.tick()
    assert watch.report.state is ServerState.CHECKING


def test_a_window_that_draws_slowly_still_learns_of_the_server(watch, server, monkeypatch):
    from gvf_blender import server_watch
    from gvf_blender.server_choice import ServerChoice

    monkeypatch.setattr(server_watch, "LOOKING_SECONDS", 0.0)  # as if drawing took longer than looking lasts
    watch.look(ServerChoice(handshake_path=server.handshake))
    assert watch.tick()
    tick_until(watch, lambda: watch.report.state is ServerState.RUNNING)


def test_what_goes_wrong_in_an_action_is_shown(draw, watch, server):
    from gvf_blender.server_choice import ServerChoice

    def fail():
        raise ServerError("The worker computes a job.", "Wait for it.")

    watch.act(fail, lambda result: None)
    tick_until(watch, lambda: watch.notice)
    choice = watch._choice = ServerChoice(handshake_path=server.handshake)
    assert "The worker computes a job. Wait for it." in draw(choice).texts()


def test_a_managed_server_is_started_and_stopped_by_the_buttons(draw, watch, managed, monkeypatch):
    from gvf_blender.operators import server as operators

    monkeypatch.setattr(operators, "server_choice", lambda context: managed)
    draw(managed)
    tick_until(watch, lambda: watch.report.state is ServerState.STOPPED)
    assert {"gvf.start_server", "gvf.stop_server"} <= set(draw(managed).names("operator"))
    assert not bpy.ops.gvf.stop_server.poll()
    assert bpy.ops.gvf.start_server() == {"FINISHED"}
    assert managed.process.is_running
    assert not bpy.ops.gvf.start_server.poll()
    watch._asked = float("-inf")
    tick_until(watch, lambda: watch.report.state is ServerState.RUNNING)
    assert bpy.ops.gvf.show_server_log() == {"FINISHED"}
    assert "serving on" in bpy.data.texts["GVF Server Log"].as_string()
    assert bpy.ops.gvf.unload_models() == {"FINISHED"}
    assert bpy.ops.gvf.stop_server() == {"FINISHED"}
    assert not managed.process.is_running


def test_show_log_shows_what_the_server_logged(watch, server, cube, video, monkeypatch):
    from gvf_blender import api
    from gvf_blender.operators import server as operators
    from gvf_blender.server_choice import ServerChoice

    job = api.start(cube, video, outputs=["points"], server=server.client)
    job.wait()
    logged = server.client.log()
    choice = ServerChoice(handshake_path=server.handshake)
    monkeypatch.setattr(operators, "server_choice", lambda context: choice)
    assert bpy.ops.gvf.show_server_log() == {"FINISHED"}
    shown = bpy.data.texts["GVF Server Log"].as_string().splitlines()
    assert any("serving on" in line for line in logged)
    assert any(server.client.jobs()[-1].id in line for line in logged), "it tells of the job"
    assert shown[: len(logged)] == logged
    assert "GVF Server Log" in watch.notice


def test_a_managed_server_without_a_python_offers_the_installation(draw, addon):
    from gvf_blender.managed_server import managed_server
    from gvf_blender.server_choice import ServerChoice

    for python, reason in ((None, "No Python is chosen"), ("/nowhere/python", "There is no Python at /nowhere/python")):
        layout = draw(ServerChoice(process=managed_server(), python=python and Path(python)))
        assert layout.texts().startswith("Not running")
        assert reason in layout.texts() and "Press Install Server, or choose in the preferences" in layout.texts()
        assert "gvf.install_server" in layout.names("operator")


def test_registration_starts_no_server_and_asks_none(addon):
    from gvf_blender import managed_server

    assert managed_server._process is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gvf-server")]


def test_a_job_starts_the_managed_server_by_itself(managed, cube, video, monkeypatch):
    from gvf_blender.operators import animate

    monkeypatch.setattr(animate, "server_choice", lambda context: managed)
    assert bpy.ops.gvf.animate(video=str(video)) == {"FINISHED"}
    assert managed.process.is_running


def test_the_preferences_choose_a_managed_server(addon):
    from gvf_blender import preferences

    chosen = SimpleNamespace(server_mode="MANAGED", python=sys.executable)
    fake = SimpleNamespace(
        preferences=SimpleNamespace(addons={"gvf_blender": SimpleNamespace(preferences=chosen)}),
    )
    choice = preferences.server_choice(fake)
    assert choice.python == Path(sys.executable)
    assert choice.process is preferences.server_choice(fake).process
    assert "started when needed" in choice.locate()

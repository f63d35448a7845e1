"""The server that Blender starts for itself."""

import os
import signal
import sys
from pathlib import Path

import pytest
from server_under_test import ROOT, ProcessWatch

from gvf_blender.client import JobState, ServerProcess, read_handshake
from gvf_blender.client.server_process import exit_error
from gvf_blender.core.errors import ServerError

PYTHON = Path(sys.executable)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder for a server whose jobs are made up."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
    monkeypatch.setenv("GVF_SERVER_JOB_FUNCTION", "fake_jobs:instant")
    return tmp_path / "managed"


@pytest.fixture
def process(home):
    made = ServerProcess(home, os.getpid())
    yield made
    made.stop()


def test_it_starts_when_it_is_needed_once_and_stops_when_it_is_told(process):
    assert not process.is_running
    assert process.exit_reason == ""
    process.connect(PYTHON)
    pid = read_handshake(process.handshake).pid
    process.connect(PYTHON)
    assert read_handshake(process.handshake).pid == pid
    assert process.is_running
    process.stop()
    assert not process.is_running
    assert process.exit_reason == ""
    assert not process.handshake.exists()


def test_after_a_crash_it_says_why_and_starts_again(process):
    process.connect(PYTHON)
    pid = read_handshake(process.handshake).pid
    watch = ProcessWatch.of(pid)
    os.kill(pid, signal.SIGKILL)
    assert watch.ends()
    assert "signal 9 (Killed)" in process.exit_reason
    process.connect(PYTHON)
    assert read_handshake(process.handshake).pid != pid


def test_a_server_of_another_blender_is_used_and_never_stopped(process, home):
    process.connect(PYTHON)
    second = ServerProcess(home, os.getpid())
    assert second.connect(PYTHON).address == process.connect(PYTHON).address
    assert not second.is_running
    second.stop()
    assert process.is_running


def test_it_makes_way_for_another_installation_unless_it_has_jobs(process, home, monkeypatch, tmp_path):
    process.make_way()  # nothing runs
    monkeypatch.setenv("GVF_SERVER_JOB_FUNCTION", "fake_jobs:scripted")
    monkeypatch.setenv("GVF_SERVER_UNPROBED", "1")
    client = process.connect(PYTHON)
    (tmp_path / "script").write_text(f"wait-for {tmp_path / 'go'}")
    (tmp_path / "capture").write_text("capture")
    job = client.submit(client.upload(tmp_path / "capture"), client.upload(tmp_path / "script"), {})
    with pytest.raises(ServerError, match="has jobs to compute") as caught:
        process.make_way()
    assert caught.value.code == "busy" and process.is_running
    client.cancel(job.id)
    assert list(client.events(job.id))[-1].state is JobState.CANCELLED
    with pytest.raises(ServerError, match="Another Blender has started the server"):
        ServerProcess(home, os.getpid()).make_way()
    assert process.is_running
    process.make_way()
    assert not process.is_running


def test_a_python_without_the_server_is_named(process, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(ServerError, match=r"has no GVF server installed.*pip install") as caught:
        process.connect(Path("/usr/bin/python3"))
    assert caught.value.code == "start"
    assert "no GVF server installed" in process.exit_reason


def test_a_python_that_is_none_is_named(process, tmp_path):
    with pytest.raises(ServerError, match=r"cannot be started with .*none"):
        process.connect(tmp_path / "none")


def test_the_servers_own_sentence_is_passed_on(process, monkeypatch):
    monkeypatch.setenv("GVF_SERVER_PORT", "1")
    if os.getuid() == 0:
        monkeypatch.setenv("GVF_SERVER_HOST", "192.0.2.1")
        monkeypatch.setenv("GVF_SERVER_TOKEN", "a" * 20)
    with pytest.raises(ServerError, match=r"^Port 1 on .* cannot be opened"):
        process.connect(PYTHON)


def test_every_way_to_end_is_a_sentence():
    assert "was asked to end" in str(exit_error(0, [], PYTHON))
    assert "exit code 3: Boom." in str(exit_error(3, ["Boom", ""], PYTHON))
    assert "exit code 0xc0000005" in str(exit_error(0xC0000005, [], PYTHON))

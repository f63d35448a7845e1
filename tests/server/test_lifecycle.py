"""Starting and ending the server."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from server_under_test import PATIENCE, ProcessWatch, server_command, server_environment, started, wait_until

from gvf_blender.client import JobState


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_server_and_worker_while_a_job_runs(tmp_path, number):
    with started(tmp_path) as server:
        worker = ProcessWatch.of(server.worker_pid())
        job = server.submit("ignore-cancel")
        stream = server.client.events(job.id)
        next(event for event in stream if event.state is JobState.RUNNING)
        server.process.send_signal(number)
        last = list(stream)[-1]
        assert (last.state, last.error.code) == (JobState.INTERRUPTED, "server_stopped")
        assert server.process.wait(PATIENCE) == 0
        assert worker.ends()
        assert not server.handshake.exists()


def test_a_request_to_shut_down_ends_server_and_worker(tmp_path):
    with started(tmp_path) as server:
        worker = ProcessWatch.of(server.worker_pid())
        server.client.shutdown()
        assert server.process.wait(PATIENCE) == 0
        assert worker.ends()


def test_a_killed_server_takes_its_worker_along_and_the_next_one_starts_in_its_place(tmp_path):
    with started(tmp_path) as server:
        worker = ProcessWatch.of(server.worker_pid())
        job = server.submit("ignore-cancel")
        server.running(job)
        server.process.kill()
        server.process.wait(PATIENCE)
        assert worker.ends()
        assert server.handshake.exists()
        server.handshake.unlink()
    with started(tmp_path) as server:
        assert list((server.data / "work").iterdir()) == []
        assert server.run("").state is JobState.SUCCEEDED


def test_the_end_of_the_parent_process_ends_the_server(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with started(tmp_path, "--parent-pid", str(parent.pid)) as server:
        assert server.client.health()["service"] == "gvf"
        parent.kill()
        assert server.process.wait(PATIENCE) == 0


def run_to_its_end(folder, *flags) -> subprocess.CompletedProcess:
    command = server_command(folder, *flags)
    return subprocess.run(command, env=server_environment(), capture_output=True, text=True, timeout=PATIENCE)


def test_a_second_server_with_the_same_handshake_file_says_so_and_leaves_the_first_alone(server, tmp_path):
    second = run_to_its_end(server.folder, "--data", str(tmp_path))
    assert second.returncode == 1
    assert second.stderr.strip().splitlines() == [
        f"gvf-server: Another GVF server is running with the handshake file {server.handshake}. "
        "Use that one, stop it, or choose another --handshake."
    ]
    assert server.handshake.exists()
    assert server.run("").state is JobState.SUCCEEDED


def test_a_second_server_with_the_same_data_folder_says_so(server, tmp_path):
    second = run_to_its_end(server.folder, "--handshake", str(tmp_path / "other.json"))
    assert second.returncode == 1
    assert f"running with the data folder {server.data}" in second.stderr


def test_a_busy_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run_to_its_end(tmp_path, "--port", str(port))
    assert result.returncode == 1
    assert f"Port {port} on 127.0.0.1 cannot be opened" in result.stderr
    assert not (tmp_path / "server.json").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    result = run_to_its_end(tmp_path)
    assert result.returncode == 1
    assert str(tmp_path / "data") in result.stderr
    assert "Traceback" not in result.stderr


def test_a_handshake_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "server.json").mkdir()
    result = run_to_its_end(tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"gvf-server: The handshake file {tmp_path / 'server.json'} cannot be written")


@pytest.mark.parametrize("limit", ["nan", "-1", "0", "inf", "much"])
def test_an_upload_limit_that_is_none_is_refused(tmp_path, limit):
    result = run_to_its_end(tmp_path, "--max-upload-mb", limit)
    assert result.returncode == 1
    assert "--max-upload-mb" in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_while_the_worker_still_starts_ends_both_quietly(tmp_path):
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            server_command(tmp_path), stderr=log, env=server_environment(), cwd=tmp_path, start_new_session=True
        )
    wait_until((tmp_path / "server.json").exists, "the server runs")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_the_home_folder_can_be_chosen(tmp_path):
    environment = server_environment() | {"GVF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "server", "--job-function", "fake_jobs:scripted"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "home" / "server.json").exists(), "the server runs")
        assert (tmp_path / "home" / "server" / "blobs").is_dir()
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_the_server_does_not_import_torch():
    code = "import sys, server.__main__, server.configuration, server.running; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, timeout=PATIENCE).returncode == 0

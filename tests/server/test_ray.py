"""The same queue, the jobs on a Ray cluster: one that the test starts, of two workers on this machine."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_under_test import PATIENCE, Server, server_environment, started, wait_until

from gvf_blender.client import JobState

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[str]:
    """The address of a cluster with room for two actors."""
    port, client_port = free_ports(2)
    folder = tmp_path_factory.mktemp("ray")
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    command += [f"--port={port}", f"--ray-client-server-port={client_port}", "--include-dashboard=false"]
    command += ["--min-worker-port=20100", "--max-worker-port=20400", "--disable-usage-stats"]
    command += ["--object-store-memory=100000000", f"--temp-dir={folder}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=server_environment(), start_new_session=True)
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()
            with socket.socket() as probe:
                probe.settimeout(PATIENCE)
                if probe.connect_ex(("127.0.0.1", client_port)) == 0:
                    break
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        yield f"ray://127.0.0.1:{client_port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def clustered(cluster, tmp_path_factory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("server"), "--executor", cluster, "--cluster-workers", "2") as server:
        yield server


def actor_pid(server: Server, job) -> int:
    return int(server.event(job, lambda status: status.stage.isdigit()).stage)


def test_two_jobs_run_at_once_on_two_actors_and_a_third_waits(clustered, tmp_path):
    script = f"tell-pid\nwait-for {tmp_path / 'go'}"
    jobs = [clustered.submit(script, {"seed": 7}), clustered.submit(script)]
    assert len({actor_pid(clustered, job) for job in jobs}) == 2
    waiting = clustered.submit("")
    assert clustered.client.status(waiting.id).state is JobState.QUEUED
    (tmp_path / "go").touch()
    assert [clustered.outcome(job).state for job in (*jobs, waiting)] == [JobState.SUCCEEDED] * 3
    clustered.client.download(jobs[0].id, tmp_path / "result")
    assert b"seed=7" in (tmp_path / "result").read_bytes()


def test_further_videos_travel_to_the_cluster(clustered):
    further = [clustered.further(text, azimuth=angle) for text, angle in (("left", -90), ("right", 90))]
    job = clustered.submit("tell-further\nsleep 0.3", further=further)
    assert "side.mp4 90 0 right" in [event.stage for event in clustered.client.events(job.id)]


def test_actors_stay_warm_between_jobs(clustered):
    pids = {actor_pid(clustered, clustered.submit("tell-pid\nsleep 0.3")) for _ in range(5)}
    assert len(pids) <= 2


def test_the_newest_frame_of_a_job_comes_from_the_cluster(clustered, tmp_path):
    job = clustered.submit(f"preview 64 32\nprogress shown 0.5\nwait-for {tmp_path / 'go'}")
    wait_until(lambda: clustered.client.preview(job.id) is not None, "the frame is here")
    png, etag = clustered.client.preview(job.id)
    assert png.startswith(b"\x89PNG") and clustered.client.preview(job.id, etag) is None
    (tmp_path / "go").touch()
    assert clustered.outcome(job).state is JobState.SUCCEEDED
    assert clustered.client.preview(job.id) is None


@pytest.mark.parametrize("script", ["wait-for /never/there", "ignore-cancel"])
def test_a_job_on_the_cluster_is_cancelled_whether_it_listens_or_not(clustered, script):
    job = clustered.submit(f"tell-pid\n{script}")
    actor_pid(clustered, job)
    clustered.client.cancel(job.id)
    assert clustered.outcome(job).state is JobState.CANCELLED
    assert clustered.run("").state is JobState.SUCCEEDED


def test_a_killed_actor_fails_its_job_and_the_next_one_runs(clustered, tmp_path):
    job = clustered.submit(f"tell-pid\nwait-for {tmp_path / 'never'}")
    os.kill(actor_pid(clustered, job), signal.SIGKILL)
    assert clustered.outcome(job).error.code == "worker_died"
    assert clustered.run("").state is JobState.SUCCEEDED


def test_refusals_come_back_with_the_name_that_the_artist_knows(clustered):
    job = clustered.run("refuse", video_name="bird.mp4")
    assert (job.error.code, job.error.message) == ("bad_video", "bird.mp4 holds no frames.")


def test_a_job_that_runs_out_of_memory_on_the_cluster_is_tried_again(clustered):
    assert clustered.run("run-out-of-memory-once").state is JobState.SUCCEEDED
    assert clustered.run("run-out-of-memory").error.code == "oom"


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    with started(tmp_path, "--executor", f"ray://127.0.0.1:{free_ports(1)[0]}") as server:
        job = server.run("")
        assert job.error.code == "worker_unavailable"
        assert "connection timeout" in job.error.message

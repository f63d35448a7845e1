"""The worker process: warm, alone with torch, replaceable."""

import json
import os
import signal
from pathlib import Path

import pytest
from capture_files import capture_bytes
from server_under_test import ProcessWatch, started, wait_until

from gvf_blender.client import JobState
from gvf_blender.core.errors import ServerError
from gvf_blender.core.safetensors_file import read_tensors


def test_one_worker_stays_warm_for_many_jobs(server):
    assert server.worker_pid() == server.worker_pid()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_fails_its_job_and_the_next_one_runs(server, name):
    job = server.run(f"signal {name}")
    assert (job.state, job.error.code) == (JobState.FAILED, "worker_died")
    assert str(int(signal.Signals[name])) in job.error.message
    assert server.run("").state is JobState.SUCCEEDED


def test_a_worker_killed_from_outside_fails_its_job_and_the_next_one_runs(server, tmp_path):
    job = server.submit(f"tell-pid\nwait-for {tmp_path / 'never'}")
    pid = int(server.event(job, lambda status: status.stage.isdigit()).stage)
    os.kill(pid, signal.SIGKILL)
    assert server.outcome(job).error.code == "worker_died"
    assert server.worker_pid() != pid


def test_a_job_that_runs_out_of_memory_is_tried_again_in_smaller_chunks_by_a_new_worker(server):
    job = server.submit("run-out-of-memory-once")
    events = list(server.client.events(job.id))
    assert events[-1].state is JobState.SUCCEEDED
    assert len({event.stage for event in events if event.stage.isdigit()}) == 2
    assert any(event.stage == "Trying again with less memory" for event in events)
    assert [event.progress for event in events] == sorted(event.progress for event in events)


def test_a_job_that_runs_out_of_memory_again_says_so(server):
    job = server.run("run-out-of-memory")
    assert (job.state, job.error.code) == (JobState.FAILED, "oom")
    assert server.run("").state is JobState.SUCCEEDED


def test_a_cancel_is_heard_while_another_worker_starts(server):
    job = server.submit("run-out-of-memory-once\nignore-cancel")
    server.event(job, lambda status: status.stage == "Trying again with less memory")
    server.client.cancel(job.id)
    assert server.outcome(job).state is JobState.CANCELLED


def test_unloading_ends_the_idle_worker_and_the_next_job_starts_another(server):
    pid = server.worker_pid()
    watch = ProcessWatch.of(pid)
    wait_until(lambda: server.client.capabilities()["worker"] == "ready", "the worker is idle")
    server.client.unload()
    assert watch.ends()
    wait_until(lambda: server.client.capabilities()["worker"] == "asleep", "the server has noticed")
    assert server.worker_pid() != pid


def test_unloading_while_a_job_runs_is_refused(server, tmp_path):
    job = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(job)
    with pytest.raises(ServerError) as caught:
        server.client.unload()
    assert caught.value.code == "busy"
    (tmp_path / "go").touch()
    assert server.outcome(job).state is JobState.SUCCEEDED


def test_an_idle_worker_gives_its_memory_back_after_a_while(tmp_path):
    with started(tmp_path, "--max-idle-minutes", "0.005") as server:
        wait_until(lambda: server.client.capabilities()["worker"] == "asleep", "the worker has gone")
        assert server.run("").state is JobState.SUCCEEDED


def test_a_worker_killed_between_jobs_is_replaced(server):
    pid = server.worker_pid()
    worker = ProcessWatch.of(pid)
    os.kill(pid, signal.SIGKILL)
    assert worker.ends()
    assert server.run("").state is JobState.SUCCEEDED


def test_helper_processes_of_a_job_end_with_its_worker(server):
    job = server.submit("tell-pid\nhelper\nignore-cancel")
    pid = int(server.event(job, lambda status: status.stage.isdigit()).stage)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: bool(children.read_text().split()), "the helper runs")
    helper = ProcessWatch.of(int(children.read_text().split()[0]))
    server.client.cancel(job.id)
    assert helper.ends()
    assert server.outcome(job).state is JobState.CANCELLED


def test_a_worker_that_cannot_start_fails_each_job_with_the_reason(tmp_path):
    with started(tmp_path, job_function="fake_jobs:no_such_function") as server:
        for _ in range(2):
            job = server.run("")
            assert (job.state, job.error.code) == (JobState.FAILED, "worker_unavailable")
            assert "no_such_function" in job.error.message
        assert server.client.capabilities()["worker"] == "unavailable"


def test_a_result_knows_its_inputs_and_only_the_worker_loads_torch(tmp_path):
    with started(tmp_path, job_function="fake_jobs:fabricated_animation") as server:
        capture, video = server.upload(capture_bytes()), server.upload("video")
        side = server.further("side", azimuth=135, elevation=15)
        job = server.outcome(server.client.submit(capture, video, {"gaussians": 100}, further=[side]))
        assert job.error is None
        server.client.download(job.id, tmp_path / "result.safetensors")
        tensors, metadata = read_tensors(tmp_path / "result.safetensors")
        assert tensors["vertices"].shape == (1, 3, 3)
        assert metadata["format"] == "gvf-animation"
        provenance = json.loads(metadata["provenance"])
        assert provenance["engine"] == "fake"
        assert (provenance["capture_sha256"], provenance["video_sha256"]) == (capture, video)
        assert provenance["views"] == ["side.mp4 135.0 15.0"]
        assert provenance["further"] == [{"video_sha256": side["video"], "azimuth": 135.0, "elevation": 15.0}]
        children = {
            pid
            for task in Path(f"/proc/{server.process.pid}/task").iterdir()
            for pid in (task / "children").read_text().split()
        }
        loads_torch = {pid: "libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in children}
        assert any(loads_torch.values())
        assert "libtorch" not in Path(f"/proc/{server.process.pid}/maps").read_text()

        broken = server.outcome(server.client.submit(video, video, {}))
        assert broken.error.code == "bad_file"
        assert broken.error.message.startswith("capture ")

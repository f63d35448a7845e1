"""Several devices: one worker each, one queue. Workers of this test share a CPU and believe that they have GPUs."""

import os
import signal

import pytest
from server_under_test import started, wait_until

from gvf_blender.client import JobState


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with started(tmp_path, "--gpus", "a,b") as server:
        wait_until(lambda: server.client.capabilities()["workers"] == ["ready", "ready"], "both workers are there")
        yield server


def test_each_worker_sees_its_own_gpu_and_both_compute_at_once(two, tmp_path):
    script = f"tell-gpu\nwait-for {tmp_path / 'go'}"
    jobs = [two.submit(script), two.submit(script)]
    gpus = {two.event(job, lambda status: status.stage in ("a", "b")).stage for job in jobs}
    assert gpus == {"a", "b"}
    waiting = two.submit("")
    assert two.client.status(waiting.id).state is JobState.QUEUED
    (tmp_path / "go").touch()
    assert [two.outcome(job).state for job in (*jobs, waiting)] == [JobState.SUCCEEDED] * 3


def test_workers_share_the_cores(two):
    job = two.submit("tell-threads")
    stage = two.event(job, lambda status: status.stage.endswith("threads")).stage
    assert stage == f"{max(1, os.cpu_count() // 2)} threads"


def test_what_happens_to_one_job_does_not_touch_the_other(two, tmp_path):
    script = f"tell-pid\nwait-for {tmp_path / 'go'}"
    kept, cancelled = two.submit(script), two.submit(script)
    two.running(cancelled)
    two.client.cancel(cancelled.id)
    assert two.outcome(cancelled).state is JobState.CANCELLED
    killed = two.submit(script)
    pid = int(two.event(killed, lambda status: status.stage.isdigit()).stage)
    os.kill(pid, signal.SIGKILL)
    assert two.outcome(killed).error.code == "worker_died"
    assert two.client.status(kept.id).state is JobState.RUNNING
    (tmp_path / "go").touch()
    assert two.outcome(kept).state is JobState.SUCCEEDED


def test_every_job_is_done_by_one_worker_only(two):
    jobs = [two.submit("tell-pid") for _ in range(20)]
    for job in jobs:
        events = list(two.client.events(two.outcome(job).id))
        assert [event.state for event in events].count(JobState.QUEUED) == 1
        assert sum(event.stage.isdigit() and event.state is JobState.RUNNING for event in events) == 1
        assert events[-1].state is JobState.SUCCEEDED

"""Cancelling: exactly one job, at once or within two seconds."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gvf_blender.client import Client, JobState
from gvf_blender.core.errors import ServerError

PROMISED_SECONDS = 2.0


def test_a_queued_job_is_cancelled_at_once_and_the_running_one_goes_on(server, tmp_path):
    running = server.submit(f"wait-for {tmp_path / 'go'}")
    waiting = server.submit("progress never 0.5")
    server.running(running)
    assert server.client.cancel(waiting.id).state is JobState.CANCELLED
    assert server.client.status(running.id).state is JobState.RUNNING
    (tmp_path / "go").touch()
    assert server.outcome(running).state is JobState.SUCCEEDED
    assert [event.state for event in server.client.events(waiting.id)] == [JobState.QUEUED, JobState.CANCELLED]


def test_a_running_job_that_listens_stops_and_its_worker_lives_on(server, tmp_path):
    pid = server.worker_pid()
    job = server.submit(f"wait-for {tmp_path / 'never'}")
    server.running(job)
    server.client.cancel(job.id)
    assert server.outcome(job).state is JobState.CANCELLED
    assert server.worker_pid() == pid


def test_a_running_job_that_does_not_listen_stops_within_the_promised_time(server):
    pid = server.worker_pid()
    job = server.submit("progress deaf 0.5\nignore-cancel")
    server.event(job, lambda status: status.stage == "deaf")
    begin = time.monotonic()
    server.client.cancel(job.id)
    assert server.outcome(job).state is JobState.CANCELLED
    assert time.monotonic() - begin < PROMISED_SECONDS
    assert server.worker_pid() != pid


def test_cancelling_twice_is_no_error(server, tmp_path):
    job = server.submit(f"wait-for {tmp_path / 'never'}")
    server.running(job)
    server.client.cancel(job.id)
    server.client.cancel(job.id)
    assert server.outcome(job).state is JobState.CANCELLED
    assert server.client.cancel(job.id).state is JobState.CANCELLED


@pytest.mark.parametrize(("script", "state"), [("", "succeeded"), ("refuse", "failed")])
def test_a_finished_job_cannot_be_cancelled(server, script, state):
    job = server.run(script)
    status, body = server.raw("POST", f"/v1/jobs/{job.id}/cancel")
    assert (status, body["error"]["code"]) == (409, "already_finished")
    with pytest.raises(ServerError, match=f"already {state}"):
        server.client.cancel(job.id)


def test_the_events_of_a_cancelled_job_end_with_its_cancellation(server, tmp_path):
    job = server.submit(f"progress waiting 0.5\nwait-for {tmp_path / 'never'}")
    server.event(job, lambda status: status.stage == "waiting")
    server.client.cancel(job.id)
    events = list(server.client.events(job.id))
    assert [(event.state, event.stage, event.progress) for event in events[-2:]] == [
        (JobState.RUNNING, "cancelling", 0.5),
        (JobState.CANCELLED, "cancelling", 0.5),
    ]


def test_two_clients_that_cancel_at_the_same_time_hit_their_own_jobs_only(server, tmp_path):
    running = server.submit(f"wait-for {tmp_path / 'go'}")
    server.running(running)
    jobs = {name: [server.submit("", client_id=name).id for _ in range(8)] for name in ("one", "two")}

    def cancel_every_second(name):
        client = Client(server.client.address, server.token)
        for job in jobs[name][::2]:
            client.cancel(job)

    with ThreadPoolExecutor() as threads:
        list(threads.map(cancel_every_second, jobs))
    (tmp_path / "go").touch()
    assert server.outcome(running).state is JobState.SUCCEEDED
    for name, ids in jobs.items():
        server.outcome(server.client.status(ids[-1]))
        states = [job.state for job in server.client.jobs(client_id=name)][-8:]
        assert states == [JobState.CANCELLED, JobState.SUCCEEDED] * 4

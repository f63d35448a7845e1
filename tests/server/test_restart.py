"""What a restart finds: nothing is lost that was finished, nothing half-done passes for a result."""

import contextlib
import os
import signal
import sqlite3

import pytest
from server_under_test import PATIENCE, started, wait_until

from gvf_blender.client import JobState
from gvf_blender.core.errors import ServerError


def kill(server) -> None:
    server.process.kill()
    server.process.wait(PATIENCE)
    server.handshake.unlink()


def test_finished_jobs_and_their_results_outlive_a_killed_server(tmp_path):
    with started(tmp_path) as server:
        job = server.run("progress half 0.5")
        events = list(server.client.events(job.id))
        server.client.download(job.id, tmp_path / "before")
        kill(server)
    with started(tmp_path) as server:
        assert server.client.status(job.id) == job
        assert list(server.client.events(job.id)) == events
        server.client.download(job.id, tmp_path / "after")
        assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()


def test_a_killed_server_interrupts_what_ran_keeps_what_waited_and_both_can_still_be_done(tmp_path):
    with started(tmp_path) as server:
        running = server.submit(f"progress begun 0.3\nwait-for {tmp_path / 'go'}")
        side = server.further("the side")
        waiting = server.submit("tell-further", idempotency_key="waiting", further=[side])
        server.event(running, lambda status: status.stage == "begun")
        kill(server)
    (tmp_path / "go").touch()
    with started(tmp_path) as server:
        interrupted = server.client.status(running.id)
        assert (interrupted.state, interrupted.error.code) == (JobState.INTERRUPTED, "interrupted")
        assert interrupted.progress == 0.3
        assert list(server.client.events(running.id))[-1] == interrupted
        events = list(server.client.events(waiting.id))
        assert events[-1].state is JobState.SUCCEEDED
        assert "side.mp4 90 0 the side" in [event.stage for event in events]
        assert server.submit("tell-further", idempotency_key="waiting", further=[side]).id == waiting.id

        again = server.client.retry(running.id)
        assert again.id != running.id
        assert server.client.retry(running.id).id == again.id
        assert server.outcome(again).state is JobState.SUCCEEDED
        with pytest.raises(ServerError) as caught:
            server.client.retry(again.id)
        assert caught.value.code == "not_retryable"


def test_a_clean_end_keeps_what_waited(tmp_path):
    with started(tmp_path) as server:
        running = server.submit("ignore-cancel")
        waiting = server.submit("")
        server.running(running)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    with started(tmp_path) as server:
        assert server.client.status(running.id).error.code == "server_stopped"
        assert server.outcome(waiting).state is JobState.SUCCEEDED


def test_a_cancel_that_a_killed_server_had_accepted_is_kept(tmp_path):
    with started(tmp_path) as server:
        job = server.submit("progress deaf 0.5\nignore-cancel")
        server.event(job, lambda status: status.stage == "deaf")
        os.kill(server.worker_group(), signal.SIGSTOP)  # so that the worker cannot let go meanwhile
        server.client.cancel(job.id)
        kill(server)
    with started(tmp_path) as server:
        assert server.client.status(job.id).state is JobState.CANCELLED


def test_a_damaged_list_of_jobs_is_named_and_can_be_moved_away(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jobs.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(AssertionError, match=r"jobs\.sqlite cannot be used .*Move the file away"), started(tmp_path):
        pass
    (tmp_path / "data" / "jobs.sqlite").unlink()
    with started(tmp_path) as server:
        assert server.run("").state is JobState.SUCCEEDED


def test_a_full_disk_stops_the_jobs_and_not_the_server(tmp_path):
    # a limit on the size of files stands in for a full disk: the database's log cannot grow further
    with started(tmp_path, shell="ulimit -f 400") as server:
        job = server.submit("\n".join(f"progress {number} {number / 2000}" for number in range(2000)))
        wait_until(lambda: "progress is not written down" in server.log, "the disk is full")
        status, body = server.raw("GET", f"/v1/jobs/{job.id}")
        assert (status, body["state"]) == (200, "running")
        with pytest.raises(ServerError, match=r"jobs\.sqlite") as caught:
            server.submit("")
        assert caught.value.code in ("storage", "disk_full")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    with started(tmp_path) as server:  # there is room again
        again = server.client.status(job.id)
        assert again.state in (JobState.SUCCEEDED, JobState.INTERRUPTED)
        assert server.run("").state is JobState.SUCCEEDED


def test_a_job_that_another_version_queued_with_settings_of_its_own_fails_with_a_sentence(tmp_path):
    with started(tmp_path) as server:
        running = server.submit("ignore-cancel")
        waiting = server.submit("")
        server.running(running)
        kill(server)
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "jobs.sqlite")) as database, database:
        database.execute("UPDATE jobs SET settings = ? WHERE id = ?", ('{"of another version": 1}', waiting.id))
    with started(tmp_path) as server:
        failed = server.outcome(waiting)
        assert (failed.state, failed.error.code) == (JobState.FAILED, "bad_settings")
        assert "of another version" in failed.error.message
        assert server.run("").state is JobState.SUCCEEDED

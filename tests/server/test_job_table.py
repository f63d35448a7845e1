"""Races between a cancel and an outcome, decided by the table; order of the queue; idempotency."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gvf_core.settings import AnimateSettings
from server.announcements import Announcements
from server.database import Database
from server.errors import (
    AlreadyFinishedError,
    IdempotencyConflictError,
    NotRetryableError,
    QueueFullError,
    StartError,
    UnknownJobError,
)
from server.job_table import JobTable
from server.jobs import FurtherUpload, JobError, JobRequest, JobState

REQUEST = JobRequest("capture", "video", "", AnimateSettings())
TWO_VIDEOS = replace(REQUEST, further=(FurtherUpload("side", "side.mp4", 90.0, 12.5),))
ERROR = JobError("code", "message")


@pytest.fixture
def table(tmp_path) -> Iterator[JobTable]:
    database = Database(tmp_path / "jobs.sqlite")
    yield JobTable(database, Announcements(), max_queued=3, clock=lambda: 0.0)
    database.close()


def test_jobs_run_in_the_order_of_their_arrival(table):
    ids = [table.submit(REQUEST, key).id for key in "abc"]
    table.cancel(ids[0])
    assert table.oldest_queued() == ids[1]


@pytest.mark.parametrize(("outcome", "error"), [(JobState.SUCCEEDED, None), (JobState.FAILED, ERROR)])
def test_an_accepted_cancel_wins_over_an_outcome_that_comes_after_it(table, outcome, error):
    job = table.submit(REQUEST, "key").id
    table.start(job)
    assert table.cancel(job).state is JobState.RUNNING
    assert table.finish(job, outcome, error).state is JobState.CANCELLED
    assert table.status(job).error is None


def test_progress_after_a_request_to_cancel_is_dropped(table):
    job = table.submit(REQUEST, "key").id
    table.start(job)
    cancelling = table.cancel(job)
    table.progress(job, "late", 0.9)
    assert table.status(job) == cancelling


def test_a_job_cancelled_before_its_turn_does_not_start(table):
    job = table.submit(REQUEST, "key").id
    table.cancel(job)
    assert not table.start(job)
    assert table.status(job).state is JobState.CANCELLED


def test_cancelling_twice_is_no_error_and_no_new_event(table):
    job = table.submit(REQUEST, "key").id
    assert table.cancel(job) == table.cancel(job)


def test_a_finished_job_cannot_be_cancelled(table):
    job = table.submit(REQUEST, "key").id
    table.start(job)
    table.finish(job, JobState.SUCCEEDED)
    with pytest.raises(AlreadyFinishedError, match="already succeeded"):
        table.cancel(job)


def test_the_same_key_gives_the_same_job(table):
    assert table.submit(REQUEST, "key") == table.submit(REQUEST, "key")
    assert len(table.jobs()) == 1


def test_the_same_key_for_another_request_is_refused(table):
    table.submit(REQUEST, "key")
    with pytest.raises(IdempotencyConflictError, match="'key'"):
        table.submit(JobRequest("capture", "other", "", AnimateSettings()), "key")


def test_an_unknown_job_is_named(table):
    with pytest.raises(UnknownJobError, match="'nobody'"):
        table.status("nobody")


def test_a_restart_interrupts_what_ran_and_keeps_what_waits(table):
    ids = [table.submit(REQUEST, key).id for key in "ab"]
    table.start(ids[0])
    table.recover(has_result=lambda job_id: False, error=ERROR)
    assert [job.status.state for job in table.jobs()] == [JobState.INTERRUPTED, JobState.QUEUED]
    assert table.status(ids[0]).error == ERROR


def test_a_restart_completes_a_job_whose_result_is_in_place(table):
    job = table.submit(REQUEST, "key").id
    table.start(job)
    table.recover(has_result=lambda job_id: True, error=ERROR)
    assert table.status(job).state is JobState.SUCCEEDED


def test_a_restart_honours_a_request_to_cancel(table):
    job = table.submit(REQUEST, "key").id
    table.start(job)
    table.cancel(job)
    table.recover(has_result=lambda job_id: True, error=ERROR)
    assert table.status(job).state is JobState.CANCELLED


def test_a_full_queue_refuses_and_says_when_to_come_back(table):
    for key in "abc":
        table.submit(REQUEST, key)
    with pytest.raises(QueueFullError, match="3 jobs are waiting") as caught:
        table.submit(REQUEST, "d")
    assert int(caught.value.headers["Retry-After"]) > 0
    assert table.submit(REQUEST, "a").state is JobState.QUEUED


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.INTERRUPTED])
def test_a_job_that_ended_without_success_is_tried_again_as_one_new_job(table, end):
    job = table.submit(TWO_VIDEOS, "key").id
    table.start(job)
    table.finish(job, end, ERROR)
    again = table.retry(job)
    assert (table.retry(job), table.job(again.id).retry_of) == (again, job)
    assert table.request(again.id) == TWO_VIDEOS


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_job_that_waits_or_has_succeeded_is_not_tried_again(table, succeeds):
    job = table.submit(REQUEST, "key").id
    if succeeds:
        table.start(job)
        table.finish(job, JobState.SUCCEEDED)
    with pytest.raises(NotRetryableError):
        table.retry(job)


def test_jobs_are_found_by_state_and_client(table):
    mine = table.submit(replace(REQUEST, client_id="me"), "a").id
    table.submit(replace(REQUEST, client_id="you"), "b")
    table.start(mine)
    assert [job.status.id for job in table.jobs(client_id="me")] == [mine]
    assert [job.status.id for job in table.jobs([JobState.RUNNING])] == [mine]
    assert [job.client_id for job in table.jobs(limit=1)] == ["you"]


def test_the_history_forgets_the_oldest_finished_jobs_and_nothing_else(table):
    ids = [table.submit(REQUEST, key).id for key in "abc"]
    for job in ids[:2]:
        table.cancel(job)
    table.forget_oldest(kept=1)
    assert [job.status.id for job in table.jobs()] == ids[1:]


def test_every_upload_of_an_unfinished_job_is_in_use(table):
    job = table.submit(TWO_VIDEOS, "key").id
    assert table.inputs_in_use() == {"capture", "video", "side"}
    table.cancel(job)
    assert table.inputs_in_use() == set()


def test_jobs_that_a_server_without_further_videos_wrote_down_are_still_known(tmp_path):
    path = tmp_path / "jobs.sqlite"
    database = Database(path)
    job = JobTable(database, Announcements(), max_queued=3).submit(REQUEST, "old").id
    database.close()
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.executescript("ALTER TABLE jobs DROP COLUMN further; PRAGMA user_version = 1;")
    table = JobTable(Database(path), Announcements(), max_queued=3)
    assert (table.oldest_queued(), table.request(job)) == (job, REQUEST)
    assert table.submit(REQUEST, "old").id == job
    assert table.request(table.submit(TWO_VIDEOS, "new").id) == TWO_VIDEOS


def test_the_jobs_of_a_newer_server_are_left_alone(tmp_path):
    path = tmp_path / "jobs.sqlite"
    Database(path).close()
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 999")
    with pytest.raises(StartError, match="schema 999"):
        Database(path)


def test_jobs_and_events_outlive_the_process_that_wrote_them(tmp_path):
    def open_table():
        return JobTable(Database(tmp_path / "jobs.sqlite"), Announcements(), max_queued=3)

    first = open_table()
    job = first.submit(REQUEST, "key").id
    first.start(job)
    first.progress(job, "stage", 0.5, seconds_left=3.0)
    second = open_table()
    assert second.events(job, 0) == first.events(job, 0)
    assert second.submit(REQUEST, "key") == first.status(job)

"""Races between a cancel and an outcome, decided by the table; order of the queue; idempotency."""

import pytest

from gvf_core.settings import AnimateSettings
from server.errors import AlreadyFinishedError, IdempotencyConflictError, UnknownJobError
from server.job_table import JobTable
from server.jobs import JobError, JobRequest, JobState

REQUEST = JobRequest("capture", "video", "", AnimateSettings())
ERROR = JobError("code", "message")


@pytest.fixture
def table() -> JobTable:
    return JobTable(clock=lambda: 0.0)


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
    assert len(table.statuses()) == 1


def test_the_same_key_for_another_request_is_refused(table):
    table.submit(REQUEST, "key")
    with pytest.raises(IdempotencyConflictError, match="'key'"):
        table.submit(JobRequest("capture", "other", "", AnimateSettings()), "key")


def test_an_unknown_job_is_named(table):
    with pytest.raises(UnknownJobError, match="'nobody'"):
        table.status("nobody")


def test_ending_the_server_leaves_no_job_unfinished(table):
    ids = [table.submit(REQUEST, key).id for key in "ab"]
    table.start(ids[0])
    table.fail_unfinished(ERROR)
    assert [status.state for status in table.statuses()] == [JobState.FAILED, JobState.FAILED]

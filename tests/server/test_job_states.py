"""Job states as values: legal ways, progress that never falls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.jobs import IllegalTransitionError, JobError, JobState, moved, progressed, queued

ERROR = JobError("code", "message")


def error_for(state: JobState) -> JobError | None:
    return ERROR if state.has_reason else None


def test_a_job_starts_queued_with_the_first_sequence_number():
    status = queued("a", time=3.0)
    assert (status.state, status.seq, status.progress, status.error) == (JobState.QUEUED, 1, 0.0, None)


@pytest.mark.parametrize("end", [state for state in JobState if state.is_terminal])
@pytest.mark.parametrize("after", list(JobState))
def test_nothing_leads_out_of_a_terminal_state(end, after):
    status = moved(moved(queued("a", 0), JobState.RUNNING, 1), end, 2, error_for(end))
    with pytest.raises(IllegalTransitionError):
        moved(status, after, 3, error_for(after))


def test_a_queued_job_cannot_succeed_without_running():
    with pytest.raises(IllegalTransitionError):
        moved(queued("a", 0), JobState.SUCCEEDED, 1)


def test_a_failure_needs_a_reason_and_nothing_else_has_one():
    running = moved(queued("a", 0), JobState.RUNNING, 1)
    with pytest.raises(IllegalTransitionError):
        moved(running, JobState.FAILED, 2)
    with pytest.raises(IllegalTransitionError):
        moved(running, JobState.SUCCEEDED, 2, ERROR)


def test_success_completes_the_progress():
    running = progressed(moved(queued("a", 0), JobState.RUNNING, 1), "stage", 0.4, 2)
    assert moved(running, JobState.SUCCEEDED, 3).progress == 1.0


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats())))
def test_progress_never_falls_and_stays_within_0_and_1_whatever_is_reported(reports):
    status = moved(queued("a", 0), JobState.RUNNING, 1)
    for stage, fraction in reports:
        after = progressed(status, stage, fraction, 2)
        assert status.progress <= after.progress <= 1.0
        assert after is status or after.seq == status.seq + 1
        status = after


def test_tiny_steps_of_one_stage_make_no_events():
    status = progressed(moved(queued("a", 0), JobState.RUNNING, 1), "stage", 0.5, 2)
    assert progressed(status, "stage", 0.5001, 3) is status


@pytest.mark.parametrize("end", [state for state in JobState if state.is_terminal])
def test_a_late_report_does_not_move_a_finished_job(end):
    status = moved(moved(queued("a", 0), JobState.RUNNING, 1), end, 2, error_for(end))
    assert progressed(status, "late", 0.9, 3) is status

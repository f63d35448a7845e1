"""Job states and the legal ways between them: pure values, no clock, no threads, no HTTP."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from gvf_core.settings import AnimateSettings

SMALLEST_PROGRESS_STEP = 0.001
"""Smaller steps are not worth an event; it bounds a job's event log to about a thousand entries and its stages."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return not _NEXT_STATES[self]


_NEXT_STATES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class IllegalTransitionError(Exception):
    """The server tried to move a job where it cannot go: a defect of the server, not of a request."""


@dataclass(frozen=True)
class JobError:
    """Why a job failed.

    Attributes:
        code: Stable machine-readable name.
        message: One sentence that says what was wrong.
        hint: One sentence that says what to do next; may be empty.
    """

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class JobRequest:
    """What a client asked for, validated.

    Attributes:
        capture: sha256 of the uploaded capture file.
        video: sha256 of the uploaded driving video.
        video_name: Name of the video for messages, without folders; may be empty.
        settings: Settings of the animation.
    """

    capture: str
    video: str
    video_name: str
    settings: AnimateSettings


@dataclass(frozen=True)
class JobStatus:
    """What is known about a job after one of its events.

    Attributes:
        id: The job's id.
        state: Where it stands.
        stage: What it is doing, in the pipeline's words; empty while queued.
        progress: Fraction that is done, 0..1; never falls.
        seq: Number of this event within the job, from 1.
        time: When the event happened, seconds since the epoch.
        error: Why the job failed; None in every other state.
    """

    id: str
    state: JobState
    stage: str
    progress: float
    seq: int
    time: float
    error: JobError | None = None


def queued(job_id: str, time: float) -> JobStatus:
    """The first status of a job."""
    return JobStatus(job_id, JobState.QUEUED, stage="", progress=0.0, seq=1, time=time)


def moved(status: JobStatus, state: JobState, time: float, error: JobError | None = None) -> JobStatus:
    """The status after a change of state.

    Raises:
        IllegalTransitionError: There is no way from the present state to `state`, or a failure without its
            reason, or a reason without failure.
    """
    if state not in _NEXT_STATES[status.state]:
        raise IllegalTransitionError(f"Job {status.id} cannot go from {status.state} to {state}.")
    if (error is not None) != (state is JobState.FAILED):
        raise IllegalTransitionError(f"Job {status.id} goes to {state} with error {error}.")
    progress = 1.0 if state is JobState.SUCCEEDED else status.progress
    return replace(status, state=state, progress=progress, seq=status.seq + 1, time=time, error=error)


def progressed(status: JobStatus, stage: str, fraction: float, time: float) -> JobStatus:
    """The status after a report of progress; the same object if the report shows nothing new.

    A report that runs backwards keeps the fraction reached so far. Reports of a job that does not run come
    late and change nothing.
    """
    if status.state is not JobState.RUNNING:
        return status
    if not math.isfinite(fraction):
        fraction = 0.0
    fraction = max(status.progress, min(fraction, 1.0))
    if stage == status.stage and fraction - status.progress < SMALLEST_PROGRESS_STEP:
        return status
    return replace(status, stage=stage, progress=fraction, seq=status.seq + 1, time=time)

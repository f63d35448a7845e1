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
    INTERRUPTED = "interrupted"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return not _NEXT_STATES[self]

    @property
    def has_reason(self) -> bool:
        """Whether the job ended in a way that needs an explanation."""
        return self in (JobState.FAILED, JobState.INTERRUPTED)

    @property
    def is_retryable(self) -> bool:
        """Whether a new job with the same inputs makes sense."""
        return self.has_reason or self is JobState.CANCELLED


_NEXT_STATES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.INTERRUPTED: frozenset(),
}


class IllegalTransitionError(Exception):
    """The server tried to move a job where it cannot go: a defect of the server, not of a request."""


@dataclass(frozen=True)
class JobError:
    """Why a job failed or was interrupted.

    Attributes:
        code: Stable machine-readable name.
        message: One sentence that says what was wrong.
        hint: One sentence that says what to do next; may be empty.
    """

    code: str
    message: str
    hint: str = ""


MOST_FURTHER_VIDEOS = 3
"""Synchronised videos beside the driving one."""


@dataclass(frozen=True)
class FurtherUpload:
    """An uploaded video of the same moments as the driving video's, seen from another side.

    Attributes:
        video: sha256 of the uploaded video.
        video_name: Name of the video for messages, without folders; may be empty.
        azimuth: Where it was seen from, degrees.
        elevation: The same.
    """

    video: str
    video_name: str
    azimuth: float
    elevation: float

    def __post_init__(self) -> None:
        """Check the angles.

        Raises:
            SettingsError: One lies outside its range, which is that of the settings.
        """
        AnimateSettings(azimuth=self.azimuth, elevation=self.elevation)


@dataclass(frozen=True)
class JobRequest:
    """What a client asked for, validated.

    Attributes:
        capture: sha256 of the uploaded capture file.
        video: sha256 of the uploaded driving video.
        video_name: Name of the video for messages, without folders; may be empty.
        settings: Settings of the animation.
        client_id: Name that the client gave itself, to find its jobs again; may be empty.
        further: Synchronised videos from other sides.
    """

    capture: str
    video: str
    video_name: str
    settings: AnimateSettings
    client_id: str = ""
    further: tuple[FurtherUpload, ...] = ()


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
        seconds_left: How long the job may still run, learned from earlier ones on this machine; None if unknown.
        error: Why the job failed or was interrupted; None in every other state.
    """

    id: str
    state: JobState
    stage: str
    progress: float
    seq: int
    time: float
    seconds_left: float | None = None
    error: JobError | None = None


@dataclass(frozen=True)
class Job:
    """A job with its newest status.

    Attributes:
        number: Jobs count from 1 in the order of their arrival.
        client_id: Name of the client that submitted it; may be empty.
        created: When it was submitted, seconds since the epoch.
        retry_of: The job that this one repeats.
        status: Its newest status.
        cancel_requested: Whether somebody asked to cancel it.
    """

    number: int
    client_id: str
    created: float
    retry_of: str | None
    status: JobStatus
    cancel_requested: bool


def queued(job_id: str, time: float) -> JobStatus:
    """The first status of a job."""
    return JobStatus(job_id, JobState.QUEUED, stage="", progress=0.0, seq=1, time=time)


def moved(status: JobStatus, state: JobState, time: float, error: JobError | None = None) -> JobStatus:
    """The status after a change of state.

    Raises:
        IllegalTransitionError: There is no way from the present state to `state`, or a failure or interruption without
            its reason, or a reason without either.
    """
    if state not in _NEXT_STATES[status.state]:
        raise IllegalTransitionError(f"Job {status.id} cannot go from {status.state} to {state}.")
    if (error is not None) != state.has_reason:
        raise IllegalTransitionError(f"Job {status.id} goes to {state} with error {error}.")
    progress = 1.0 if state is JobState.SUCCEEDED else status.progress
    return replace(
        status, state=state, progress=progress, seq=status.seq + 1, time=time, seconds_left=None, error=error
    )


def progressed(
    status: JobStatus, stage: str, fraction: float, time: float, seconds_left: float | None = None
) -> JobStatus:
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
    return replace(status, stage=stage, progress=fraction, seq=status.seq + 1, time=time, seconds_left=seconds_left)

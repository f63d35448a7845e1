"""A job as the server describes it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .json_number import number, whole_number
from .sentence import showable


class JobState(StrEnum):
    """Where a job stands on the server."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


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
    hint: str


@dataclass(frozen=True)
class JobStatus:
    """What is known about a job after one of its events.

    Attributes:
        id: The job's id.
        state: Where it stands.
        stage: What it is doing, in the server's words; empty while queued.
        progress: Fraction that is done, 0..1; never falls.
        seq: Number of the event within the job, from 1.
        error: Why the job failed or was interrupted; None in every other state.
        seconds_left: How long the job may still run; None if the server does not know.
    """

    id: str
    state: JobState
    stage: str
    progress: float
    seq: int
    error: JobError | None
    seconds_left: float | None = None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "JobStatus":
        """A status from decoded JSON; members this version does not know are ignored.

        Raises:
            KeyError, TypeError, ValueError: A member is missing or of the wrong kind.
        """
        error, left = values["error"], values.get("seconds_left")
        return cls(
            id=showable(str(values["id"])),
            state=JobState(values["state"]),
            stage=showable(str(values["stage"])),
            progress=number(values["progress"]),
            seq=whole_number(values["seq"]),
            error=None if error is None else JobError(*(str(error[part]) for part in ("code", "message", "hint"))),
            seconds_left=None if left is None else number(left),
        )

"""What the server's answers hold; `docs/openapi.json` is made from these and the routes."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from server.device import Device
from server.job_table import JobTable
from server.jobs import MOST_FURTHER_VIDEOS, FurtherUpload, Job, JobState, JobStatus
from server.limits import Limits
from server.storage import Storage
from server.supervisor import WorkerState

OUTPUT_NAME = "animation.safetensors"


class FurtherVideo(BaseModel):
    """The same moments as the driving video's, seen from another side."""

    video: str = Field(description="sha256 of the uploaded video")
    video_name: str = Field("", max_length=255, description="name of the video, for messages")
    azimuth: float = Field(description="where it was seen from, as the setting")
    elevation: float = Field(description="likewise")

    def upload(self) -> FurtherUpload:
        """As a part of the job.

        Raises:
            SettingsError: An angle is out of range.
        """
        return FurtherUpload(self.video, self.video_name, self.azimuth, self.elevation)


class JobSubmission(BaseModel):
    """Body of POST /v1/jobs."""

    capture: str = Field(description="sha256 of the uploaded capture file")
    video: str = Field(description="sha256 of the uploaded driving video")
    video_name: str = Field("", max_length=255, description="name of the video, for messages")
    further: list[FurtherVideo] = Field(
        default_factory=list, max_length=MOST_FURTHER_VIDEOS, description="synchronised videos from other sides"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="fields of AnimateSettings")
    idempotency_key: str = Field(min_length=1, max_length=200, description="same key, same job")
    client_id: str = Field("", max_length=200, description="name under which the client finds its jobs again")


class VideoWish(BaseModel):
    """Body of POST /v1/videos/{sha256}/check."""

    video_name: str = Field("", max_length=255, description="name of the video, for messages")
    settings: dict[str, Any] = Field(default_factory=dict, description="fields of AnimateSettings")


class WeightsWish(BaseModel):
    """Body of POST /v1/models/download."""

    names: list[str] = Field(default_factory=list, max_length=100, description="none: all that animating needs")
    accept_unstated_licences: bool = Field(False, description="fetch also what is published without a stated licence")


@dataclass(frozen=True)
class ErrorReason:
    """What went wrong and what to do."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True)
class ErrorAnswer:
    """Body of every refusal."""

    error: ErrorReason


@dataclass(frozen=True)
class Health:
    """Which service this is."""

    service: str
    api: list[int]
    version: str
    build: str
    ready: bool
    worker: WorkerState
    uptime_seconds: float


@dataclass(frozen=True)
class Capabilities:
    """What this server can do, and how much of it."""

    version: str
    engines: list[str]
    weights: dict[str, bool]
    formats: dict[str, list[str]]
    limits: Limits
    further_videos: int
    worker: WorkerState
    workers: list[WorkerState]
    devices: list[Device]
    memory_available_mb: int
    disk_used_bytes: int


@dataclass(frozen=True)
class Blob:
    """An upload; `offset` is how many bytes of it are here."""

    sha256: str
    offset: int
    complete: bool


@dataclass(frozen=True)
class Output:
    """A file that a job has made."""

    name: str
    bytes: int


@dataclass(frozen=True)
class JobDescription(JobStatus):
    """A job: its newest status and what does not change.

    Attributes:
        created: When it was submitted, seconds since the epoch.
        client_id: Name of the client that submitted it.
        retry_of: The job that this one repeats.
        position: Place in the queue, 1 is the next; None unless queued.
        retryable: Whether POST .../retry would queue it again.
        outputs: Files that can be fetched.
    """

    created: float = 0.0
    client_id: str = ""
    retry_of: str | None = None
    position: int | None = None
    retryable: bool = False
    outputs: list[Output] = field(default_factory=list)


@dataclass(frozen=True)
class JobList:
    """Jobs, oldest first."""

    jobs: list[JobDescription]


@dataclass(frozen=True)
class LogTail:
    """The last lines of the log."""

    lines: list[str]


@dataclass(frozen=True)
class Acknowledgement:
    """What the server now does."""

    state: str


def describe(job: Job, table: JobTable, storage: Storage) -> JobDescription:
    """Everything about a job that a client may want to know."""
    result = storage.result(job.status.id)
    outputs = []
    if job.status.state is JobState.SUCCEEDED and result.exists():
        outputs.append(Output(OUTPUT_NAME, result.stat().st_size))
    return JobDescription(
        **vars(job.status),
        created=job.created,
        client_id=job.client_id,
        retry_of=job.retry_of,
        position=table.position(job),
        retryable=job.status.state.is_retryable,
        outputs=outputs,
    )

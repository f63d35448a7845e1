"""Every job and its events, in memory, shared by the HTTP handlers and the supervisor's thread."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.errors import AlreadyFinishedError, IdempotencyConflictError, UnknownJobError
from server.jobs import JobError, JobRequest, JobState, JobStatus, moved, progressed, queued

LOGGER = logging.getLogger(__name__)

CANCELLING_STAGE = "cancelling"

_Watcher = tuple[asyncio.AbstractEventLoop, asyncio.Event]


@dataclass
class _Job:
    request: JobRequest
    events: list[JobStatus]
    cancel_requested: bool = False
    watchers: list[_Watcher] = field(default_factory=list)

    @property
    def status(self) -> JobStatus:
        return self.events[-1]


class JobTable:
    """Jobs in the order of their arrival. Every method may be called from every thread.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._id_of_key: dict[str, str] = {}

    def submit(self, request: JobRequest, idempotency_key: str) -> JobStatus:
        """Queue a job; the same key with the same request gives the job that exists already.

        Raises:
            IdempotencyConflictError: The key belongs to a different request.
        """
        with self._lock:
            known = self._id_of_key.get(idempotency_key)
            if known is not None:
                job = self._jobs[known]
                if job.request != request:
                    raise IdempotencyConflictError(
                        f"The idempotency key {idempotency_key!r} belongs to job {known}, which has other inputs.",
                        "Use a new key for a new job.",
                    )
                return job.status
            job_id = secrets.token_hex(8)
            self._jobs[job_id] = _Job(request, [queued(job_id, self._clock())])
            self._id_of_key[idempotency_key] = job_id
            LOGGER.info("job %s queued", job_id)
            return self._jobs[job_id].status

    def status(self, job_id: str) -> JobStatus:
        """The newest status of a job.

        Raises:
            UnknownJobError: There is no such job.
        """
        with self._lock:
            return self._job(job_id).status

    def statuses(self) -> list[JobStatus]:
        """The newest status of every job, oldest job first."""
        with self._lock:
            return [job.status for job in self._jobs.values()]

    def events(self, job_id: str, after: int) -> list[JobStatus]:
        """The events of a job whose sequence number is greater than `after`, oldest first.

        Raises:
            UnknownJobError: There is no such job.
        """
        with self._lock:
            return self._job(job_id).events[max(after, 0) :]

    def request(self, job_id: str) -> JobRequest:
        """What the job is to do.

        Raises:
            UnknownJobError: There is no such job.
        """
        with self._lock:
            return self._job(job_id).request

    def oldest_queued(self) -> str | None:
        """The id of the job whose turn it is."""
        with self._lock:
            return next((job_id for job_id, job in self._jobs.items() if job.status.state is JobState.QUEUED), None)

    def start(self, job_id: str) -> bool:
        """Move a queued job to running; False if it was cancelled a moment before."""
        with self._lock:
            job = self._job(job_id)
            if job.status.state is JobState.CANCELLED:
                return False
            self._append(job, moved(job.status, JobState.RUNNING, self._clock()))
            return True

    def progress(self, job_id: str, stage: str, fraction: float) -> None:
        """Record progress of a running job; reports that come after a request to cancel are dropped."""
        with self._lock:
            job = self._job(job_id)
            if not job.cancel_requested:
                self._append(job, progressed(job.status, stage, fraction, self._clock()))

    def finish(self, job_id: str, state: JobState, error: JobError | None = None) -> JobStatus:
        """End a job. An accepted request to cancel wins over an outcome that arrives after it."""
        with self._lock:
            job = self._job(job_id)
            if job.status.state is JobState.CANCELLED:
                return job.status
            if job.cancel_requested:
                state, error = JobState.CANCELLED, None
            self._append(job, moved(job.status, state, self._clock(), error))
            LOGGER.info("job %s %s%s", job_id, state, f" ({error.code}): {error.message}" if error else "")
            return job.status

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel exactly this job: a queued one at once, a running one as soon as the worker lets go.

        Raises:
            UnknownJobError: There is no such job.
            AlreadyFinishedError: It has succeeded or failed.
        """
        with self._lock:
            job = self._job(job_id)
            if job.status.state in (JobState.SUCCEEDED, JobState.FAILED):
                raise AlreadyFinishedError(f"Job {job_id} has already {job.status.state}; there is nothing to cancel.")
            if job.status.state is JobState.QUEUED:
                self._append(job, moved(job.status, JobState.CANCELLED, self._clock()))
                LOGGER.info("job %s cancelled before it ran", job_id)
            elif job.status.state is JobState.RUNNING and not job.cancel_requested:
                self._append(job, progressed(job.status, CANCELLING_STAGE, job.status.progress, self._clock()))
                job.cancel_requested = True
            return job.status

    def cancel_requested(self, job_id: str) -> bool:
        """Whether somebody asked to cancel the running job."""
        with self._lock:
            return self._job(job_id).cancel_requested

    def fail_unfinished(self, error: JobError) -> None:
        """End every job that has not ended, so that nobody waits for it."""
        for status in self.statuses():
            if not status.state.is_terminal:
                self.finish(status.id, JobState.FAILED, error)

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """An asyncio event that is set whenever the job gets a new event.

        Raises:
            UnknownJobError: There is no such job.
        """
        watcher = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            job = self._job(job_id)
            job.watchers.append(watcher)
        try:
            yield watcher[1]
        finally:
            with self._lock:
                job.watchers.remove(watcher)

    def _job(self, job_id: str) -> _Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise UnknownJobError(
                f"There is no job {job_id!r} on this server.", "It may have been restarted: submit the job again."
            ) from None

    @staticmethod
    def _append(job: _Job, status: JobStatus) -> None:
        if status is job.status:
            return
        job.events.append(status)
        for loop, event in job.watchers:
            loop.call_soon_threadsafe(event.set)

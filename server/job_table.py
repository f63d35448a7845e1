"""Every job and its events, in the database; shared by the HTTP handlers and the supervisors' threads."""

import json
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict

from gvf_core.settings import AnimateSettings
from server.announcements import Announcements
from server.database import Database
from server.errors import (
    AlreadyFinishedError,
    IdempotencyConflictError,
    NotRetryableError,
    QueueFullError,
    UnknownJobError,
)
from server.jobs import FurtherUpload, Job, JobError, JobRequest, JobState, JobStatus, moved, progressed, queued

LOGGER = logging.getLogger(__name__)

CANCELLING_STAGE = "cancelling"
RETRY_AFTER_SECONDS = 10
RETRY_KEY = "retry-of:"
"""What the keys begin with under which the server itself queues jobs."""

_JOBS = """
SELECT jobs.number, jobs.id, client_id, created, retry_of, cancel_requested,
       events.state, stage, progress, seq, time, seconds_left, error
FROM jobs JOIN events ON events.job = jobs.number
    AND events.seq = (SELECT max(seq) FROM events WHERE job = jobs.number)
"""


class JobTable:
    """Jobs in the order of their arrival. Every method may be called from every thread.

    Args:
        database: Where the jobs are.
        announcements: Whom to tell about each new event, after it is on disk.
        max_queued: Longest queue.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        announcements: Announcements,
        max_queued: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._announcements = announcements
        self._max_queued = max_queued
        self._clock = clock

    def submit(self, request: JobRequest, idempotency_key: str, retry_of: str | None = None) -> JobStatus:
        """Queue a job; the same key with the same request gives the job that exists already.

        Raises:
            IdempotencyConflictError: The key belongs to a different request.
            QueueFullError: Too many jobs wait.
        """
        with self._database.writing() as connection:
            known = _find(connection, "idempotency_key = ?", idempotency_key)
            if known is not None:
                return _same_request(connection, known, request, idempotency_key)
            (waiting,) = connection.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()
            if waiting >= self._max_queued:
                raise QueueFullError(
                    f"{waiting} jobs are waiting, which is as many as this server takes.",
                    "Try again when some have finished, or cancel some.",
                    RETRY_AFTER_SECONDS,
                )
            status = queued(secrets.token_hex(8), self._clock())
            number = connection.execute(
                "INSERT INTO jobs (id, idempotency_key, client_id, retry_of, capture, video, video_name, settings, "
                "further, created, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(status.id, idempotency_key, request.client_id, retry_of),
                    *(request.capture, request.video, request.video_name, json.dumps(asdict(request.settings))),
                    *(json.dumps([asdict(one) for one in request.further]), status.time, status.state),
                ),
            ).lastrowid
            assert number is not None
            _insert_event(connection, number, status)
        LOGGER.info("queued", extra={"job": status.id})
        return status

    def retry(self, job_id: str) -> JobStatus:
        """Queue a new job with the inputs of one that was interrupted, failed or was cancelled; once per job.

        Raises:
            UnknownJobError: There is no such job.
            NotRetryableError: It has not ended, or has succeeded.
            QueueFullError: Too many jobs wait.
        """
        job = self.job(job_id)
        if not job.status.state.is_retryable:
            raise NotRetryableError(
                f"Job {job_id} is {job.status.state}: only one that ended without success can be tried again."
            )
        return self.submit(self.request(job_id), f"{RETRY_KEY}{job_id}", retry_of=job_id)

    def known(self, request: JobRequest, idempotency_key: str) -> JobStatus | None:
        """The job that was submitted with this key, if any.

        Raises:
            IdempotencyConflictError: The key belongs to a different request.
        """
        with self._database.reading() as connection:
            job = _find(connection, "idempotency_key = ?", idempotency_key)
            return None if job is None else _same_request(connection, job, request, idempotency_key)

    def job(self, job_id: str) -> Job:
        """A job with its newest status.

        Raises:
            UnknownJobError: There is no such job.
        """
        with self._database.reading() as connection:
            return _job(connection, job_id)

    def request(self, job_id: str) -> JobRequest:
        """What the job is to do.

        Raises:
            UnknownJobError: There is no such job.
        """
        with self._database.reading() as connection:
            return _request(connection, _job(connection, job_id).number)

    def status(self, job_id: str) -> JobStatus:
        """The newest status of a job.

        Raises:
            UnknownJobError: There is no such job.
        """
        return self.job(job_id).status

    def jobs(self, states: Collection[JobState] = (), client_id: str | None = None, limit: int = 1000) -> list[Job]:
        """The newest jobs of all clients or one, in all states or some; the oldest of them first."""
        wanted: list[str] = ["1"]
        values: list[str] = []
        if states:
            wanted.append(f"jobs.state IN ({', '.join('?' * len(states))})")
            values += list(states)
        if client_id is not None:
            wanted.append("client_id = ?")
            values.append(client_id)
        query = f"{_JOBS} WHERE {' AND '.join(wanted)} ORDER BY jobs.number DESC LIMIT ?"
        with self._database.reading() as connection:
            rows = connection.execute(query, (*values, limit)).fetchall()
        return [_job_of(row) for row in reversed(rows)]

    def position(self, job: Job) -> int | None:
        """Place of a queued job in the queue: 1 is the next."""
        if job.status.state is not JobState.QUEUED:
            return None
        query = "SELECT count(*) FROM jobs WHERE state = 'queued' AND number <= ?"
        with self._database.reading() as connection:
            return connection.execute(query, (job.number,)).fetchone()[0]

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        with self._database.reading() as connection:
            found = dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in JobState}

    def events(self, job_id: str, after: int) -> list[JobStatus]:
        """The events of a job whose sequence number is greater than `after`, oldest first.

        Raises:
            UnknownJobError: There is no such job.
        """
        query = (
            "SELECT state, stage, progress, seq, time, seconds_left, error FROM events "
            "WHERE job = ? AND seq > ? ORDER BY seq"
        )
        with self._database.reading() as connection:
            number = _job(connection, job_id).number
            return [_status_of(job_id, row) for row in connection.execute(query, (number, max(after, 0)))]

    def oldest_queued(self) -> str | None:
        """The id of the job whose turn it is."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY number LIMIT 1").fetchone()
        return row[0] if row else None

    def inputs_in_use(self) -> set[str]:
        """The sha256 of every upload that a queued or running job needs."""
        query = "SELECT capture, video, further FROM jobs WHERE state IN ('queued', 'running')"
        with self._database.reading() as connection:
            return {
                sha256
                for capture, video, further in connection.execute(query)
                for sha256 in (capture, video, *(one["video"] for one in json.loads(further)))
            }

    def start(self, job_id: str) -> bool:
        """Move a queued job to running; False if it was cancelled, or begun by another worker, a moment before."""
        claimed = False

        def running(job: Job) -> JobStatus:
            nonlocal claimed
            claimed = job.status.state is JobState.QUEUED
            return moved(job.status, JobState.RUNNING, self._clock()) if claimed else job.status

        self._append(job_id, running)
        return claimed

    def progress(self, job_id: str, stage: str, fraction: float, seconds_left: float | None = None) -> None:
        """Record progress of a running job; reports that come after a request to cancel are dropped."""

        def further(job: Job) -> JobStatus:
            if job.cancel_requested:
                return job.status
            return progressed(job.status, stage, fraction, self._clock(), seconds_left)

        self._append(job_id, further)

    def finish(self, job_id: str, state: JobState, error: JobError | None = None) -> JobStatus:
        """End a job. An accepted request to cancel wins over an outcome that arrives after it."""

        def finished(job: Job) -> JobStatus:
            if job.status.state is JobState.CANCELLED:
                return job.status
            if job.cancel_requested:
                return moved(job.status, JobState.CANCELLED, self._clock())
            return moved(job.status, state, self._clock(), error)

        status = self._append(job_id, finished)
        why = f" ({status.error.code}): {status.error.message}" if status.error else ""
        LOGGER.info("%s%s", status.state, why, extra={"job": job_id})
        return status

    def cancel(self, job_id: str) -> JobStatus:
        """Cancel exactly this job: a queued one at once, a running one as soon as the worker lets go.

        Raises:
            UnknownJobError: There is no such job.
            AlreadyFinishedError: It has succeeded, failed or was interrupted.
        """

        def cancelled(job: Job) -> JobStatus:
            status = job.status
            if status.state is JobState.QUEUED:
                return moved(status, JobState.CANCELLED, self._clock())
            if status.state is JobState.RUNNING and not job.cancel_requested:
                return progressed(status, CANCELLING_STAGE, status.progress, self._clock())
            if status.state.is_terminal and status.state is not JobState.CANCELLED:
                raise AlreadyFinishedError(f"Job {job_id} has already {status.state}; there is nothing to cancel.")
            return status

        status = self._append(job_id, cancelled, cancel=True)
        LOGGER.info("cancel requested, %s", status.state, extra={"job": job_id})
        return status

    def cancel_requested(self, job_id: str) -> bool:
        """Whether somebody asked to cancel the running job."""
        return self.job(job_id).cancel_requested

    def recover(self, has_result: Callable[[str], bool], error: JobError) -> None:
        """End the jobs that ran when the server ended: it was killed, or the machine lost power.

        Args:
            has_result: Whether the complete result of a job is in place; then only the last word was missing.
            error: Why the others are interrupted.
        """
        for job in self.jobs([JobState.RUNNING]):
            if has_result(job.status.id):
                self.finish(job.status.id, JobState.SUCCEEDED)
            else:
                self.finish(job.status.id, JobState.INTERRUPTED, error)

    def forget_oldest(self, kept: int) -> None:
        """Remove all finished jobs but the newest so many."""
        query = """
            DELETE FROM jobs WHERE number IN (
                SELECT number FROM jobs WHERE state NOT IN ('queued', 'running') ORDER BY number DESC LIMIT -1 OFFSET ?
            )
        """
        with self._database.writing() as connection:
            connection.execute(query, (kept,))

    def _append(self, job_id: str, step: Callable[[Job], JobStatus], cancel: bool = False) -> JobStatus:
        """Give a job its next status, in one transaction; the same status is no event."""
        with self._database.writing() as connection:
            job = _job(connection, job_id)
            status = step(job)
            if cancel and status.state is JobState.RUNNING:
                connection.execute("UPDATE jobs SET cancel_requested = 1 WHERE number = ?", (job.number,))
            if status is job.status:
                return status
            _insert_event(connection, job.number, status)
            if status.state is not job.status.state:
                connection.execute("UPDATE jobs SET state = ? WHERE number = ?", (status.state, job.number))
        self._announcements.publish(status)
        return status


def _insert_event(connection: sqlite3.Connection, number: int, status: JobStatus) -> None:
    error = None if status.error is None else json.dumps(asdict(status.error))
    connection.execute(
        "INSERT INTO events (job, seq, state, stage, progress, time, seconds_left, error) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(number, status.seq, status.state, status.stage, status.progress, status.time),
            *(status.seconds_left, error),
        ),
    )


def _job(connection: sqlite3.Connection, job_id: str) -> Job:
    job = _find(connection, "jobs.id = ?", job_id)
    if job is None:
        raise UnknownJobError(f"There is no job {job_id!r} on this server.", "Submit the job again.")
    return job


def _find(connection: sqlite3.Connection, condition: str, value: str) -> Job | None:
    row = connection.execute(f"{_JOBS} WHERE {condition}", (value,)).fetchone()
    return None if row is None else _job_of(row)


def _request(connection: sqlite3.Connection, number: int) -> JobRequest:
    query = "SELECT capture, video, video_name, settings, client_id, further FROM jobs WHERE number = ?"
    capture, video, video_name, settings, client_id, further = connection.execute(query, (number,)).fetchone()
    return JobRequest(
        capture,
        video,
        video_name,
        AnimateSettings.from_dict(json.loads(settings)),
        client_id,
        tuple(FurtherUpload(**one) for one in json.loads(further)),
    )


def _same_request(connection: sqlite3.Connection, job: Job, request: JobRequest, idempotency_key: str) -> JobStatus:
    if _request(connection, job.number) != request:
        raise IdempotencyConflictError(
            f"The idempotency key {idempotency_key!r} belongs to job {job.status.id}, which has other inputs.",
            "Use a new key for a new job.",
        )
    return job.status


def _job_of(row: Sequence) -> Job:
    number, job_id, client_id, created, retry_of, cancel, *event = row
    return Job(number, client_id, created, retry_of, _status_of(job_id, event), bool(cancel))


def _status_of(job_id: str, event: Sequence) -> JobStatus:
    state, stage, progress, seq, time, seconds_left, error = event
    reason = None if error is None else JobError(**json.loads(error))
    return JobStatus(job_id, JobState(state), stage, progress, seq, time, seconds_left, reason)

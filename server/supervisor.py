"""The thread that gives queued jobs to one worker, one at a time, and keeps a worker at hand."""

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gvf_core.errors import SettingsError
from server.device import Device
from server.errors import ServerError
from server.job_table import JobTable
from server.jobs import JobError, JobRequest, JobState
from server.limits import Limits
from server.storage import Storage
from server.time_left import JobClock, StageTimes
from server.worker import Worker
from server.worker_process import (
    OUT_OF_MEMORY,
    CancelTask,
    FurtherInput,
    JobTask,
    TaskFinished,
    TaskProgress,
    WorkerFailedToStart,
    WorkerLog,
    WorkerMessage,
    WorkerReady,
)

LOGGER = logging.getLogger(__name__)

CANCEL_GRACE_SECONDS = 1.0
"""Time for a job to stop by itself; then the worker is killed, so that every cancel ends within two seconds."""

START_TIMEOUT_SECONDS = 180.0
"""Importing torch takes 3 s from a warm disk and can take a minute from a cold network disk."""

DISK_PATIENCE_SECONDS = 1.0
"""Between two attempts to write down how a job ended, while the disk is full."""

RETRY_STAGE = "Trying again with less memory"

SERVER_STOPPED = JobError(
    "server_stopped", "The server was stopped while it computed the job.", "Start the server and try the job again."
)
INTERRUPTED = JobError(
    "interrupted",
    "The server ended unexpectedly while it computed the job.",
    "Try the job again; if this happens every time, the server's log may say why.",
)

WorkerState = Literal["starting", "ready", "busy", "asleep", "unavailable"]


@dataclass
class _Running:
    """The job that the worker computes."""

    id: str
    number: int
    request: JobRequest
    clock: JobClock
    deadline: float
    kill_at: float | None = None


class Supervisor:
    """Runs the jobs of a table.

    One thread does everything: it alone touches the worker, so no lock guards it. Others only `wake` it.

    Args:
        table: Where jobs wait and outcomes go.
        storage: Where inputs lie and results go.
        times: Where the durations of stages are learned.
        limits: How long a job may run and an idle worker stays.
        job_function: "module:function" that the worker runs for each job.
        gpu: The one GPU that the worker sees, as in CUDA_VISIBLE_DEVICES; None leaves that to the environment.
        on_crash: Called if the thread itself fails, a defect after which no job could run.
    """

    def __init__(
        self,
        table: JobTable,
        storage: Storage,
        times: StageTimes,
        limits: Limits,
        job_function: str,
        gpu: str | None,
        on_crash: Callable[[], None],
    ) -> None:
        self._table = table
        self._storage = storage
        self._times = times
        self._limits = limits
        self._job_function = job_function
        self._gpu = gpu
        self._on_crash = on_crash
        self._worker: Worker | None = None
        self._stopping = threading.Event()
        self._unload = threading.Event()
        self._wake_reader, self._wake_writer = multiprocessing.Pipe(duplex=False)
        self._wake_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self.worker_state: WorkerState = "starting"
        self.device: Device | None = None

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, if there is one."""
        worker = self._worker
        return None if worker is None else worker.pid

    def start(self) -> None:
        """Start the thread and with it the first worker."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there is a new job or a request to cancel one. Every thread may call this."""
        with self._wake_lock:
            self._wake_writer.send_bytes(b"!")

    def unload(self) -> None:
        """End the worker as soon as it is idle; the next job starts another one."""
        self._unload.set()
        self.wake()

    def stop(self) -> None:
        """Ask the thread to kill the worker and end; the running job is interrupted, queued ones stay queued."""
        self._stopping.set()
        self.wake()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._step()
                except ServerError as error:  # a full disk, most likely: wait for better times
                    LOGGER.error("the next job cannot be begun: %s", error)
                    self._stopping.wait(DISK_PATIENCE_SECONDS)
        except Exception:
            LOGGER.exception("the supervisor failed, the server stops")
            self._on_crash()
        finally:
            self._kill_worker()

    def _step(self) -> None:
        if self._worker is not None and not self._worker.is_alive:
            LOGGER.error("worker %d died (%s)", self._worker.pid, self._worker.death)
            self._kill_worker()
        job_id = self._table.oldest_queued()
        if self._worker is None and (job_id is not None or self.worker_state == "starting"):
            self._obtain_worker(job_id)
        elif self._worker is None or job_id is None:
            self._rest()
        else:
            self._run_job(self._worker, job_id)

    def _rest(self) -> None:
        """Wait for something to do; an idle worker is ended after a while or on request."""
        if self._worker is None:
            self._unload.clear()
            self._wake_reader.recv_bytes()  # asleep, or unavailable until the next job
            return
        deadline = time.monotonic() + 60 * self._limits.idle_minutes
        while not self._stopping.is_set() and self._worker.is_alive and self._table.oldest_queued() is None:
            if self._unload.is_set() or time.monotonic() >= deadline:
                LOGGER.info("worker %d ends: it is idle", self._worker.pid)
                self._kill_worker()
                self.worker_state = "asleep"
                return
            self._hear(self._worker, deadline)

    def _hear(self, worker: Worker, deadline: float) -> list[WorkerMessage]:
        """Sleep until there is something to do; what the worker logs goes to the log."""
        heard: list[WorkerMessage] = []
        for message in worker.wait(self._wake_reader, max(0.0, deadline - time.monotonic())):
            if isinstance(message, WorkerLog):
                logging.getLogger(message.record.name).handle(message.record)
            else:
                heard.append(message)
        return heard

    def _obtain_worker(self, job_id: str | None) -> None:
        """Start a worker. Each job gets one attempt: none waits for ever, and there is no hot loop of restarts."""
        error = self._start_worker()
        if error is not None:
            LOGGER.error("%s", error.message)
            self.worker_state = "unavailable"
            if job_id is not None and self._table.start(job_id):  # unless another worker has it meanwhile
                self._finish(job_id, JobState.FAILED, error)

    def _start_worker(self) -> JobError | None:
        self.worker_state = "starting"
        self._unload.clear()
        try:
            self._worker = worker = Worker(self._job_function, self._gpu)
        except OSError as error:
            return _worker_unavailable(str(error))
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._stopping.is_set():
            for message in self._hear(worker, deadline):
                if isinstance(message, WorkerReady):
                    LOGGER.info("worker %d is ready on %s", worker.pid, message.device.name)
                    self.worker_state = "ready"
                    self.device = message.device
                    return None
                if isinstance(message, WorkerFailedToStart):
                    self._kill_worker()
                    return _worker_unavailable(message.reason)
            if not worker.is_alive:
                death = worker.death
                self._kill_worker()
                return _worker_unavailable(death)
            if time.monotonic() >= deadline:
                self._kill_worker()
                return _worker_unavailable(f"not ready after {START_TIMEOUT_SECONDS:.0f} seconds")
        return None

    def _run_job(self, worker: Worker, job_id: str) -> None:
        if not self._table.start(job_id):
            return
        self.worker_state = "busy"
        try:
            self._compute(worker, job_id)
        except ServerError as error:
            # The worker may still be at it, and what it says later would be taken for the end of another job.
            LOGGER.error("the job is given up: %s", error, extra={"job": job_id})
            self._kill_worker()
            self._finish(job_id, JobState.FAILED, JobError(error.code, error.message, error.hint))
            self._storage.remove_job_folder(job_id)

    def _compute(self, worker: Worker, job_id: str) -> None:
        """Do a job that has begun, to its end."""
        try:
            request = self._table.request(job_id)
        except SettingsError as refusal:  # queued by another version of the server
            self._finish(job_id, JobState.FAILED, JobError(refusal.code, refusal.message, refusal.hint))
            self.worker_state = "ready"
            return
        job = _Running(
            id=job_id,
            number=self._table.job(job_id).number,
            request=request,
            clock=self._times.clock(request),
            deadline=time.monotonic() + 60 * self._limits.job_minutes,
        )
        error = self._attempt(worker, job, smaller_chunks=False)
        if error is OUT_OF_MEMORY and (again := self._fresh_worker(job)) is not None:
            error = self._attempt(again, job, smaller_chunks=True)
        error = error or self._keep_result(job)
        end = JobState.FAILED if error else JobState.SUCCEEDED
        has_succeeded = self._finish(job_id, JobState.INTERRUPTED if error is SERVER_STOPPED else end, error)
        self._storage.remove_job_folder(job_id)
        self.worker_state = "starting" if self._worker is None else "ready"
        self._look_back(job, has_succeeded)

    def _attempt(self, worker: Worker, job: _Running, smaller_chunks: bool) -> JobError | None:
        """Let the worker do the job once; None if it has made the result."""
        try:
            worker.send(self._task(job, smaller_chunks))
        except OSError as error:
            return _storage_unusable(error)
        return self._follow(worker, job)

    def _fresh_worker(self, job: _Running) -> Worker | None:
        """Another worker, with empty memory, for a job that ran out of it."""
        LOGGER.warning("out of memory: a new worker tries again in smaller chunks", extra={"job": job.id})
        self._kill_worker()
        self._note_progress(job, RETRY_STAGE, 0.0)
        if self._start_worker() is not None:
            return None
        self.worker_state = "busy"
        return self._worker

    def _task(self, job: _Running, smaller_chunks: bool) -> JobTask:
        request = job.request
        folder = self._storage.make_job_folder(job.id)
        return JobTask(
            job_id=job.id,
            capture=self._storage.named_input(request.capture, "capture", folder),
            video=self._storage.named_input(request.video, request.video_name or "video", folder),
            capture_sha256=request.capture,
            video_sha256=request.video,
            settings=request.settings,
            result=self._storage.unfinished_result(job.id),
            preview=self._storage.unfinished_preview(job.id),
            smaller_chunks=smaller_chunks,
            further=tuple(
                FurtherInput(
                    path=self._storage.named_input(one.video, one.video_name or "video", folder / f"further-{index}"),
                    sha256=one.video,
                    azimuth=one.azimuth,
                    elevation=one.elevation,
                )
                for index, one in enumerate(request.further, start=1)
            ),
        )

    def _follow(self, worker: Worker, job: _Running) -> JobError | None:
        """Wait for the end of an attempt; returns why it failed."""
        while (reason := self._reason_to_end(worker, job)) is None:
            for message in self._hear(worker, min(job.deadline, job.kill_at or job.deadline)):
                if isinstance(message, TaskProgress):
                    self._note_progress(job, message.stage, message.fraction)
                elif isinstance(message, TaskFinished):
                    # what is pickled on the way is equal to the constant, and no longer the same object
                    return OUT_OF_MEMORY if message.error == OUT_OF_MEMORY else message.error
        return reason

    def _reason_to_end(self, worker: Worker, job: _Running) -> JobError | None:
        """Whether the attempt is over although the worker has not said so; passes on a request to cancel."""
        if self._stopping.is_set():
            self._kill_worker()
            return SERVER_STOPPED
        if not worker.is_alive:
            return _worker_died(worker.death)
        now = time.monotonic()
        if now >= job.deadline:
            self._kill_worker()
            return _too_slow(self._limits.job_minutes)
        if self._table.cancel_requested(job.id):
            if job.kill_at is None:
                worker.send(CancelTask(job.id))
                job.kill_at = now + CANCEL_GRACE_SECONDS
            elif now >= job.kill_at:
                LOGGER.warning("worker %d is killed: the job does not stop", worker.pid, extra={"job": job.id})
                self._kill_worker()
                return SERVER_STOPPED  # whatever the reason: the request to cancel wins
        return None

    def _note_progress(self, job: _Running, stage: str, fraction: float) -> None:
        seconds_left = job.clock.report(stage, fraction, time.monotonic())
        try:
            self._table.progress(job.id, stage, fraction, seconds_left)
        except ServerError as error:  # a full disk costs the report and not the job
            LOGGER.warning("progress is not written down: %s", error, extra={"job": job.id})

    def _keep_result(self, job: _Running) -> JobError | None:
        """Move the result into place: a job has succeeded only when its result is safe."""
        if self._table.cancel_requested(job.id):
            return None
        try:
            self._storage.keep_result(job.id, self._storage.unfinished_result(job.id))
        except OSError as error:
            return _storage_unusable(error)
        return None

    def _finish(self, job_id: str, state: JobState, error: JobError | None) -> bool:
        """Write down how a job ended, as soon as the disk takes it; whether it has succeeded in the end."""
        while True:
            try:
                has_succeeded = self._table.finish(job_id, state, error).state is JobState.SUCCEEDED
                break
            except ServerError as problem:
                LOGGER.error("the end of the job cannot be written down: %s", problem, extra={"job": job_id})
                if self._stopping.wait(DISK_PATIENCE_SECONDS):
                    return False  # the next start finds the job running, and its result in place or not
        if not has_succeeded:
            self._storage.remove_result(job_id)
        return has_succeeded

    def _look_back(self, job: _Running, has_succeeded: bool) -> None:
        """Learn from the job, and keep the data folder and the history within their limits."""
        try:
            if has_succeeded:
                self._times.learn(job.request, job.number, job.clock.stages(time.monotonic()))
            self._storage.make_room(0)
            self._table.forget_oldest(self._limits.kept_jobs)
        except (ServerError, OSError) as error:
            LOGGER.warning("cleaning failed: %s", error)

    def _kill_worker(self) -> None:
        """End the worker, if there is one; another is started unless somebody puts the state right."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
            self.worker_state = "starting"


def _worker_unavailable(reason: str) -> JobError:
    return JobError(
        "worker_unavailable",
        f"The worker process could not start ({reason}).",
        "Check the server's installation with the help of its log, then try the job again.",
    )


def _worker_died(death: str) -> JobError:
    return JobError(
        "worker_died",
        f"The worker process died while it computed the job ({death}).",
        "If memory ran out, use fewer Gaussians or frames; the server's log may say more.",
    )


def _too_slow(minutes: float) -> JobError:
    return JobError(
        "too_slow",
        f"The job took longer than {minutes:g} minutes, which is as long as this server lets a job run.",
        "Use fewer frames, fewer Gaussians or a faster preset, or start the server with a larger --max-job-minutes.",
    )


def _storage_unusable(error: OSError) -> JobError:
    return JobError(
        "storage",
        f"The server's data folder cannot be used ({error.strerror or error}).",
        "Free some disk space there.",
    )

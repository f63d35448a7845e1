"""The thread that gives queued jobs to the worker, one at a time, and keeps a worker alive."""

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Literal

from server.job_table import JobTable
from server.jobs import JobError, JobState
from server.storage import Storage
from server.worker import Worker
from server.worker_process import CancelTask, JobTask, TaskFinished, TaskProgress, WorkerFailedToStart, WorkerReady

LOGGER = logging.getLogger(__name__)

CANCEL_GRACE_SECONDS = 1.0
"""Time for a job to stop by itself; then the worker is killed, so that every cancel ends within two seconds."""

START_TIMEOUT_SECONDS = 180.0
"""Importing torch takes 3 s from a warm disk and can take a minute from a cold network disk."""

SERVER_STOPPED = JobError(
    "server_stopped", "The server was stopped before the job ended.", "Start the server and submit the job again."
)

WorkerState = Literal["starting", "ready", "busy", "unavailable"]


class Supervisor:
    """Runs the jobs of a table.

    One thread does everything: it alone touches the worker, so no lock guards it. Others only `wake` it.

    Args:
        table: Where jobs wait and outcomes go.
        storage: Where inputs lie and results go.
        job_function: "module:function" that the worker runs for each job.
        on_crash: Called if the thread itself fails, a defect after which no job could run.
    """

    def __init__(self, table: JobTable, storage: Storage, job_function: str, on_crash: Callable[[], None]) -> None:
        self._table = table
        self._storage = storage
        self._job_function = job_function
        self._on_crash = on_crash
        self._worker: Worker | None = None
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = multiprocessing.Pipe(duplex=False)
        self._wake_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self.worker_state: WorkerState = "starting"

    def start(self) -> None:
        """Start the thread and with it the first worker."""
        self._thread.start()

    def wake(self) -> None:
        """Tell the thread that there is a new job or a request to cancel one. Every thread may call this."""
        with self._wake_lock:
            self._wake_writer.send_bytes(b"!")

    def stop(self) -> None:
        """Kill the worker, end the thread, and end every unfinished job as failed."""
        self._stopping.set()
        self.wake()
        self._thread.join()
        self._table.fail_unfinished(SERVER_STOPPED)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._drop_dead_worker()
                if self._worker is None:
                    self._obtain_worker()
                elif (job_id := self._table.oldest_queued()) is not None:
                    self._run_job(self._worker, job_id)
                else:
                    self._worker.wait(self._wake_reader, None)
        except Exception:
            LOGGER.exception("the supervisor failed, the server stops")
            self._on_crash()
        finally:
            self._kill_worker()

    def _obtain_worker(self) -> None:
        error = self._start_worker()
        if error is None:
            return
        # each job gets one attempt to start a worker: none waits for ever, and there is no hot loop of restarts
        LOGGER.error("%s", error.message)
        self.worker_state = "unavailable"
        job_id = self._table.oldest_queued()
        if job_id is not None:
            self._table.finish(job_id, JobState.FAILED, error)
        while self._table.oldest_queued() is None and not self._stopping.is_set():
            self._wake_reader.recv_bytes()

    def _start_worker(self) -> JobError | None:
        self.worker_state = "starting"
        try:
            self._worker = worker = Worker(self._job_function)
        except OSError as error:
            return _worker_unavailable(str(error))
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._stopping.is_set():
            for message in worker.wait(self._wake_reader, max(0.0, deadline - time.monotonic())):
                if isinstance(message, WorkerReady):
                    LOGGER.info("worker %d is ready", worker.pid)
                    self.worker_state = "ready"
                    return None
                if isinstance(message, WorkerFailedToStart):
                    self._kill_worker()
                    return _worker_unavailable(message.reason)
            if not worker.is_alive:
                self._kill_worker()
                return _worker_unavailable(worker.death)
            if time.monotonic() >= deadline:
                self._kill_worker()
                return _worker_unavailable(f"not ready after {START_TIMEOUT_SECONDS:.0f} seconds")
        return None

    def _run_job(self, worker: Worker, job_id: str) -> None:
        if not self._table.start(job_id):
            return
        self.worker_state = "busy"
        try:
            task = self._task(job_id)
        except OSError as error:
            LOGGER.exception("job %s has no place to work in", job_id)
            self._finish(
                job_id,
                JobError(
                    "storage", f"The server's data folder cannot be used ({error}).", "Free some disk space there."
                ),
            )
        else:
            worker.send(task)
            self._follow_job(worker, job_id)
        self._storage.remove_job_folder(job_id)
        self.worker_state = "starting" if self._worker is None else "ready"

    def _task(self, job_id: str) -> JobTask:
        request = self._table.request(job_id)
        folder = self._storage.make_job_folder(job_id)
        return JobTask(
            job_id=job_id,
            capture=self._storage.named_input(request.capture, "capture", folder),
            video=self._storage.named_input(request.video, request.video_name or "video", folder),
            capture_sha256=request.capture,
            video_sha256=request.video,
            settings=request.settings,
            folder=folder,
            result=self._storage.result(job_id),
        )

    def _follow_job(self, worker: Worker, job_id: str) -> None:
        kill_at: float | None = None
        while True:
            timeout = None if kill_at is None else max(0.0, kill_at - time.monotonic())
            for message in worker.wait(self._wake_reader, timeout):
                if isinstance(message, TaskProgress):
                    self._table.progress(message.job_id, message.stage, message.fraction)
                elif isinstance(message, TaskFinished):
                    self._finish(job_id, message.error)
                    return
            if self._stopping.is_set():
                self._kill_worker()
                self._finish(job_id, SERVER_STOPPED)
                return
            if not worker.is_alive:
                self._finish(job_id, _worker_died(worker.death))
                self._drop_dead_worker()
                return
            if not self._table.cancel_requested(job_id):
                continue
            if kill_at is None:
                worker.send(CancelTask(job_id))
                kill_at = time.monotonic() + CANCEL_GRACE_SECONDS
            elif time.monotonic() >= kill_at:
                LOGGER.warning("job %s did not stop by itself: worker %d is killed", job_id, worker.pid)
                self._kill_worker()
                self._finish(job_id, None)
                return

    def _finish(self, job_id: str, error: JobError | None) -> None:
        state = JobState.FAILED if error else JobState.SUCCEEDED
        if error:
            # before anybody hears of the failure
            self._storage.remove_result(job_id)
        if self._table.finish(job_id, state, error).state is not JobState.SUCCEEDED:
            self._storage.remove_result(job_id)

    def _drop_dead_worker(self) -> None:
        if self._worker is not None and not self._worker.is_alive:
            LOGGER.error("worker %d died (%s)", self._worker.pid, self._worker.death)
            self.worker_state = "starting"
            self._kill_worker()

    def _kill_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


def _worker_unavailable(reason: str) -> JobError:
    return JobError(
        "worker_unavailable",
        f"The worker process could not start ({reason}).",
        "Check the server's installation with the help of its log, then submit the job again.",
    )


def _worker_died(death: str) -> JobError:
    return JobError(
        "worker_died",
        f"The worker process died while it computed the job ({death}).",
        "If memory ran out, use fewer Gaussians or frames; the server's log may say more.",
    )

"""The worker process: runs one job after another and stays warm between them. Only this process loads torch."""

import faulthandler
import importlib
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from gvf_core.errors import GvfError
from gvf_core.process_tree import kill_tree
from gvf_core.settings import AnimateSettings
from server.device import Device, describe_device
from server.jobs import SMALLEST_PROGRESS_STEP, JobError
from server.log import about_job, log_through
from server.memory import memory_ran_out

LOGGER = logging.getLogger(__name__)

NICENESS = 5

OUT_OF_MEMORY = JobError(
    "oom",
    "The job ran out of memory.",
    "Use fewer Gaussians or frames, or close other programs that use the graphics card or much memory.",
)


@dataclass(frozen=True)
class FurtherInput:
    """A synchronised video of a job, as the worker gets it.

    Attributes:
        path: The uploaded video.
        sha256: Its hash.
        azimuth: Where it was seen from, degrees.
        elevation: The same.
    """

    path: Path
    sha256: str
    azimuth: float
    elevation: float


@dataclass(frozen=True)
class JobTask:
    """One job as the worker gets it.

    Attributes:
        job_id: The job's id.
        capture: The uploaded capture file.
        video: The uploaded driving video.
        capture_sha256: Hash of the capture file.
        video_sha256: Hash of the video.
        settings: Settings of the animation.
        result: Where the finished animation belongs: a file in a folder of the job's own.
        preview: Where a PNG file of the newest frame belongs while the job runs.
        smaller_chunks: Whether an attempt has run out of memory, so that this one should take less at a time.
        further: Synchronised videos from other sides.
    """

    job_id: str
    capture: Path
    video: Path
    capture_sha256: str
    video_sha256: str
    settings: AnimateSettings
    result: Path
    preview: Path
    smaller_chunks: bool = False
    further: tuple[FurtherInput, ...] = ()


JobFunction = Callable[[JobTask, Callable[[str, float], None], Callable[[], bool]], None]
"""Does one job; called with the task, a progress callback (stage, fraction) and a question whether to stop.

Raises `GvfError` for what the user can act on. `server.animation_job:animate_job` is the real one.
"""


@dataclass(frozen=True)
class CancelTask:
    """To the worker: stop this job, if it still runs."""

    job_id: str


@dataclass(frozen=True)
class WorkerReady:
    """From the worker: the job function is imported, and this is what it computes on."""

    device: Device


@dataclass(frozen=True)
class WorkerFailedToStart:
    """From the worker: the job function cannot be imported."""

    reason: str


@dataclass(frozen=True)
class TaskProgress:
    """From the worker: how far the job is."""

    job_id: str
    stage: str
    fraction: float


@dataclass(frozen=True)
class TaskFinished:
    """From the worker: the job is done, or failed with `error`."""

    job_id: str
    error: JobError | None


@dataclass(frozen=True)
class WorkerLog:
    """From the worker: a record for the server's log, which has one writer only."""

    record: logging.LogRecord


WorkerMessage = WorkerReady | WorkerFailedToStart | TaskProgress | TaskFinished | WorkerLog

_CancellableTask = tuple[JobTask, threading.Event]


def run_worker(connection: Connection, job_function: str, gpu: str | None) -> None:
    """Body of the worker process: serve tasks until the connection to the server breaks.

    Args:
        connection: To the server.
        job_function: "module:function" of a `JobFunction`.
        gpu: The one GPU to use; None leaves that to the environment.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before anything loads CUDA
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that helper processes die with us
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a console of Windows reaches us, too; the server ends us
    # Blender and the server's answers go first: a job that takes minutes does not miss what they need
    psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else NICENESS)
    faulthandler.enable()
    # the connection is read from the start, so that the end of the server ends even a slow import
    tasks: queue.SimpleQueue[_CancellableTask] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), name="receive", daemon=True).start()
    sender = _Sender(connection)
    log_through(lambda record: sender.send(WorkerLog(record)))
    try:
        run_job, describe = _import_function(job_function)
        device = describe()
    except Exception as error:
        LOGGER.exception("the worker cannot use %s", job_function)
        sender.send(WorkerFailedToStart(f"{type(error).__name__}: {error}"))
        return
    sender.send(WorkerReady(device))
    while True:
        task, cancel = tasks.get()
        with about_job(task.job_id):
            finished = perform(run_job, task, cancel, sender.send)
        sender.send(finished)


def _import_function(name: str) -> tuple[JobFunction, Callable[[], Device]]:
    """The job function, and what tells the device: its module's own `describe_device` if it has one."""
    name, _, function = name.partition(":")
    module = importlib.import_module(name)
    return getattr(module, function), getattr(module, "describe_device", describe_device)


def _receive(connection: Connection, tasks: "queue.SimpleQueue[_CancellableTask]") -> None:
    """Pass tasks to the main thread and cancel them; end the process when the server is gone."""
    cancels: dict[str, threading.Event] = {}
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            _die()
        if isinstance(message, JobTask):
            cancels = {message.job_id: threading.Event()}
            tasks.put((message, cancels[message.job_id]))
        elif isinstance(message, CancelTask) and message.job_id in cancels:
            cancels[message.job_id].set()


def _die() -> None:
    """End at once, together with every helper process: whoever could use the work is gone."""
    kill_tree(os.getpid())
    os._exit(1)


def perform(
    run_job: JobFunction, task: JobTask, cancel: threading.Event, send: Callable[[WorkerMessage], None]
) -> TaskFinished:
    """Do one job; whatever goes wrong becomes part of what is returned.

    Args:
        run_job: Does it.
        task: What to do.
        cancel: Set when the job shall stop.
        send: Takes reports of progress.
    """
    reporter = _ProgressReporter(send, task.job_id)
    try:
        run_job(task, reporter, cancel.is_set)
    except GvfError as error:
        return TaskFinished(task.job_id, JobError(error.code, error.message, error.hint))
    except Exception as error:
        LOGGER.exception("the job failed")
        if memory_ran_out(error):
            return TaskFinished(task.job_id, OUT_OF_MEMORY)
        return TaskFinished(
            task.job_id,
            JobError(
                "internal",
                f"The job stopped with an unexpected {type(error).__name__}: {error}.",
                "This is a defect of the server; its log has the details.",
            ),
        )
    return TaskFinished(task.job_id, None)


class _Sender:
    """The connection's writing end, for every thread of the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: WorkerMessage) -> None:
        with self._lock:
            self._connection.send(message)


class _ProgressReporter:
    """Sends progress that is worth an event; may be called from every thread of the job."""

    def __init__(self, send: Callable[[WorkerMessage], None], job_id: str) -> None:
        self._send = send
        self._job_id = job_id
        self._stage = ""
        self._fraction = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        if stage == self._stage and fraction - self._fraction < SMALLEST_PROGRESS_STEP:
            return
        self._stage, self._fraction = stage, fraction
        self._send(TaskProgress(self._job_id, stage, float(fraction)))

"""A job function that lets a Ray cluster do the job. The queue, the states and cancelling stay as they are.

Each worker process of the server keeps one actor on the cluster, which keeps its models between jobs; Ray chooses the
node by GPU and memory. Capture and videos travel to the actor, progress and the result come back. The nodes need the
same release of this package.
"""

import contextlib
import dataclasses
import importlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray

from gvf_core.errors import Cancelled, GvfError
from server.device import Device
from server.device import describe_device as describe_here
from server.jobs import JobError
from server.preview import keep_picture
from server.worker_process import OUT_OF_MEMORY, JobTask, TaskProgress, WorkerMessage, perform

ADDRESS, FUNCTION, MEMORY = "GVF_RAY_ADDRESS", "GVF_RAY_JOB_FUNCTION", "GVF_RAY_MEMORY_BYTES"
"""Environment variables by which the server tells its worker processes about the cluster."""

POLL_SECONDS = 0.1
CANCEL_GRACE_SECONDS = 0.5
"""For the job to stop by itself; less than the server gives this process, which then can still kill the actor."""


class ClusterError(GvfError):
    """The cluster cannot do the job; `code` says why.

    Args:
        message: See `GvfError`.
        hint: See `GvfError`.
        code: See `GvfError`.
    """

    def __init__(self, message: str, hint: str = "", code: str = "cluster") -> None:
        super().__init__(message, hint)
        self.code = code


class RemoteWorker:
    """The actor: does one job at a time, and answers meanwhile.

    Args:
        job_function: "module:function" of a `server.worker_process.JobFunction`.
    """

    def __init__(self, job_function: str) -> None:
        module, _, function = job_function.partition(":")
        self._run_job = getattr(importlib.import_module(module), function)
        self._cancel = threading.Event()
        self._progress: tuple[str, float] | None = None
        self._preview: Path | None = None

    def device(self) -> Device:
        """What it computes on."""
        return describe_here()

    def run(
        self, task: JobTask, capture: bytes, video: bytes, further: Sequence[bytes]
    ) -> tuple[JobError | None, bytes]:
        """Do a job; gives why it failed, or its result."""
        self._cancel.clear()
        self._progress = None
        with tempfile.TemporaryDirectory(prefix="gvf-") as folder:
            inputs = Path(folder) / "inputs"
            inputs.mkdir()
            here = dataclasses.replace(
                task,
                capture=inputs / "capture",
                video=inputs / task.video.name,
                result=Path(folder) / "result",
                preview=Path(folder) / "preview.png",
                further=tuple(
                    dataclasses.replace(one, path=Path(folder) / f"further-{index}" / one.path.name)
                    for index, one in enumerate(task.further, start=1)
                ),
            )
            self._preview = here.preview
            here.capture.write_bytes(capture)
            here.video.write_bytes(video)
            for one, content in zip(here.further, further, strict=True):
                one.path.parent.mkdir()
                one.path.write_bytes(content)
            error = perform(self._run_job, here, self._cancel, self._note).error
            return error, b"" if error else here.result.read_bytes()

    def progress(self) -> tuple[str, float] | None:
        """Stage and fraction of the running job, once there are any."""
        return self._progress

    def preview(self, known: int) -> tuple[int, bytes] | None:
        """Version of the newest frame's picture, and its PNG file; None if there is none but the known one."""
        # The job ends, and its folder goes, at any moment.
        with contextlib.suppress(OSError):
            if self._preview is not None and (version := self._preview.stat().st_mtime_ns) != known:
                return version, self._preview.read_bytes()
        return None

    def cancel(self) -> None:
        """Ask the running job to stop."""
        self._cancel.set()

    def _note(self, message: WorkerMessage) -> None:
        if isinstance(message, TaskProgress):
            self._progress = (message.stage, message.fraction)


_actor: Any = None
"""The actor of this process."""


def ray_job(task: JobTask, on_progress: Callable[[str, float], None], cancelled: Callable[[], bool]) -> None:
    """Let the actor do the job.

    Raises:
        ClusterError: The job failed there, with the code of the failure.
        Cancelled: `cancelled` returned True.
    """
    try:
        actor = _connected_actor()
        further = [one.path.read_bytes() for one in task.further]
        run = actor.run.remote(task, task.capture.read_bytes(), task.video.read_bytes(), further)
        stop_at: float | None = None
        known_preview = 0
        while not ray.wait([run], timeout=POLL_SECONDS)[0]:
            progress, preview = ray.get([actor.progress.remote(), actor.preview.remote(known_preview)])
            if preview is not None:
                known_preview, picture = preview
                keep_picture(task.preview, picture)
            if progress is not None:
                on_progress(*progress)
            if cancelled() and stop_at is None:
                actor.cancel.remote()
                stop_at = time.monotonic() + CANCEL_GRACE_SECONDS
            if stop_at is not None and time.monotonic() > stop_at:
                _forget_actor()
                raise Cancelled()
        error, result = ray.get(run)
    except (ray.exceptions.RayError, ConnectionError) as problem:
        _forget_actor()
        raise ClusterError(
            f"The worker on the cluster died ({type(problem).__name__}).",
            "If memory ran out, use fewer Gaussians or frames; Ray's log may say more.",
            "worker_died",
        ) from problem
    if error is not None:
        if error == OUT_OF_MEMORY:
            _forget_actor()  # the next attempt shall find empty memory
        raise ClusterError(error.message, error.hint, error.code)
    task.result.write_bytes(result)


def describe_device() -> Device:
    """What the actor computes on; a cluster that cannot be reached shows here, before a job needs it."""
    return ray.get(_connected_actor().device.remote())


def _connected_actor() -> Any:
    global _actor
    if not ray.is_initialized():
        ray.init(os.environ[ADDRESS], log_to_driver=False, logging_level=logging.ERROR)
    if _actor is None:
        options: dict[str, Any] = {"num_cpus": 1, "max_concurrency": 4}
        if ray.cluster_resources().get("GPU", 0) >= 1:
            options["num_gpus"] = 1
        if int(os.environ[MEMORY]):
            options["memory"] = int(os.environ[MEMORY])
        _actor = ray.remote(RemoteWorker).options(**options).remote(os.environ[FUNCTION])
    return _actor


def _forget_actor() -> None:
    global _actor
    with contextlib.suppress(ray.exceptions.RayError, ConnectionError):
        ray.kill(_actor)
    _actor = None

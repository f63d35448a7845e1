"""Clips evaluated side by side, each in a process of its own: a crash, or memory that runs out, costs one clip.

Every process has its share of the cores for work that is laid `side_by_side`, whose results do not depend on the number
of threads; single operations get one thread: they are small, and on two busy cores clips took up to 15 times longer
with more threads of BLAS than cores.
"""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess

from gvf_core.errors import BlenderError, CaptureError, FileFormatError, GvfError
from gvf_core.evaluation.clip_task import ClipTask

LOGGER = logging.getLogger(__name__)

_SINGLE_THREADED = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_SIDE_BY_SIDE = "NUMBA_NUM_THREADS"
_POLL_SECONDS = 0.5
_STOP_SECONDS = 10


@dataclass(frozen=True)
class Outcome:
    """How the work on one clip ended.

    Attributes:
        task: What it was.
        refused: Why the clip cannot be used; empty if it can.
        failed: Why there are not all figures, though the clip is not to blame; empty if nothing went wrong.
    """

    task: ClipTask
    refused: str = ""
    failed: str = ""


@dataclass
class _Job:
    task: ClipTask
    process: SpawnProcess
    messages: connection.Connection
    done: float = 0.0
    refused: str = ""
    failed: str = ""
    finished: bool = False


def run_clips(
    tasks: Iterator[ClipTask], wanted: int, jobs: int, on_progress: Callable[[float, str], None]
) -> list[Outcome]:
    """Work through tasks until enough clips are evaluated.

    Refused clips are replaced by later tasks where they allow it. As many tasks are begun as clips are wanted and
    refused, whatever ends first, so the clips that are evaluated do not depend on the number of jobs. However this
    ends, no process is left.

    Args:
        tasks: In order; asked only when another one is needed.
        wanted: Number of clips.
        jobs: Processes at the same time.
        on_progress: Called with the fraction of the whole that is done and the clips in work.

    Returns:
        In the order of the tasks.
    """
    running: list[_Job] = []
    outcomes: dict[int, Outcome] = {}
    order: list[ClipTask] = []
    open_places = wanted
    try:
        with shared_cores(jobs):
            while True:
                while open_places and len(running) < jobs and (task := next(tasks, None)) is not None:
                    open_places -= 1
                    order.append(task)
                    if all(task.is_measured(engine) for engine in task.engines):
                        outcomes[id(task)] = Outcome(task)
                    else:
                        running.append(_start(task))
                if not running:
                    break
                for job in _finished(running):
                    running.remove(job)
                    outcome = _outcome(job)
                    outcomes[id(job.task)] = outcome
                    if outcome.refused and job.task.replaceable:
                        open_places += 1
                good = sum(not (outcome.refused and outcome.task.replaceable) for outcome in outcomes.values())
                share = (good + sum(job.done for job in running)) / max(wanted, 1)
                on_progress(min(share, 1.0), ", ".join(job.task.choice.clip for job in running))
    finally:
        for job in running:
            _stop(job.process)
    return [outcomes[id(task)] for task in order]


def _start(task: ClipTask) -> _Job:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, task), name=f"gvf evaluate {task.slug}")
    process.start()
    theirs.close()
    return _Job(task, process, ours)


def _finished(running: list[_Job]) -> list[_Job]:
    """Wait a moment, take what the processes tell, and return those that ended."""
    connection.wait([job.messages for job in running if not job.finished], timeout=_POLL_SECONDS)
    for job in running:
        try:
            while not job.finished and job.messages.poll():
                kind, value = job.messages.recv()
                if kind == "progress":
                    job.done = value
                elif kind == "refused":
                    job.refused = value
                elif kind == "failed":
                    job.failed = value
        except (EOFError, BrokenPipeError):  # the second on Windows
            job.finished = True
            job.process.join()
    return [job for job in running if job.finished]


def _outcome(job: _Job) -> Outcome:
    status = job.process.exitcode
    job.messages.close()
    if status == 0:
        return Outcome(job.task, job.refused, job.failed)
    ending = f"exit status {status}" if status is None or status >= 0 else f"signal {-status}"
    LOGGER.warning("the work on %s broke down (%s)", job.task.slug, ending)
    return Outcome(job.task, failed=f"The process broke down ({ending}).")


def _stop(process: SpawnProcess) -> None:
    """Let it end its own Blender; only then force it."""
    process.terminate()
    process.join(_STOP_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


@contextmanager
def shared_cores(jobs: int) -> Iterator[None]:
    """Processes that start meanwhile read these variables when they load their libraries."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    wanted = dict.fromkeys(_SINGLE_THREADED, "1") | {_SIDE_BY_SIDE: str(threads)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(messages: connection.Connection, task: ClipTask) -> None:
    """In the process of a clip."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # The terminal interrupts all processes; this one waits for its parent's word.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2
    import torch

    from gvf_core.evaluation.existing_asset import evaluate_clip

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        evaluate_clip(task, lambda fraction: messages.send(("progress", fraction)))
    except (BlenderError, CaptureError, FileFormatError) as error:
        messages.send(("refused", str(error)))
    except GvfError as error:  # no Blender, a full disk: another clip would fare no better
        messages.send(("failed", str(error)))
    finally:
        messages.close()

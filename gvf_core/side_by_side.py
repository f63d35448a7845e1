"""Work shared out among threads, as many as numba is configured for (NUMBA_NUM_THREADS, else all cores).

For pieces that take milliseconds and spend them in kernels, torch, OpenCV or BLAS, all of which let other threads
run meanwhile. The number of threads changes no bit of a result where the caller limits torch and BLAS to one thread, as
the threads here do for themselves.
"""

import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from jaxtyping import Float32
from numba import config
from numpy import ndarray
from threadpoolctl import ThreadpoolController

from gvf_core.progress import Monitor

Part = TypeVar("Part")
Result = TypeVar("Result")

LOGGER = logging.getLogger(__name__)

MOST_THREADS = 16
"""More would mostly wait for Python's lock, each with a piece in memory: with 64, the first of 64 frames of a polish
took 2.7 s on two cores, and to stop may not take as long."""
_POLL_SECONDS = 0.1
_OPENMP = ThreadpoolController().select(user_api="openmp")
_SELF = threading.local()
"""Of each thread: `threads`, how many it may use where it works on a part itself, and `pool`, those that it uses."""


def thread_count() -> int:
    """How many threads work that is shared out here and now gets."""
    own = getattr(_SELF, "threads", None)
    return own or min(config.NUMBA_NUM_THREADS, MOST_THREADS)  # type: ignore[attr-defined]  # set at run time


def side_by_side(task: Callable[[Part], Result], parts: Iterable[Part]) -> Generator[Result, None, None]:
    """Run a task on every part; the results come in the order of the parts.

    What a part shares out in turn gets its share of the threads: with more parts than threads it runs by itself. Begins
    when the first result is asked for. Ends, by an error too, when no part is in work any more.
    """
    parts = list(parts)
    threads = thread_count()
    if min(threads, len(parts)) <= 1:
        yield from map(task, parts)
        return
    share = max(1, threads // len(parts))
    futures: list[Future[Result]] = []
    try:
        for part in parts:
            futures.append(_pool().submit(_work, share, task, part))
        for future in futures:
            yield future.result()
    finally:
        _end(futures)


def searched_together(tasks: Sequence[Callable[[Monitor], Result]], monitor: Monitor) -> list[Result]:
    """Run long tasks side by side, each with a monitor of its own.

    What `monitor` calls is called on this thread only: with the mean of the tasks' progress, and the previews of all.

    Raises:
        Cancelled: The caller asked to stop; all tasks have ended.
    """
    threads, count = thread_count(), len(tasks)
    if min(threads, count) <= 1:
        return [task(monitor.part(index / count, (index + 1) / count)) for index, task in enumerate(tasks)]
    done, stop = [0.0] * count, threading.Event()
    previews: list[tuple[int, Float32[ndarray, "height width 4"]]] = []

    def run(index: int) -> Result:
        on_preview = None if monitor.on_preview is None else lambda *preview: previews.append(preview)
        return tasks[index](Monitor(lambda fraction: done.__setitem__(index, fraction), stop.is_set, on_preview))

    share = max(1, threads // count)
    futures: list[Future[Result]] = []
    try:
        for index in range(count):
            futures.append(_pool().submit(_work, share, run, index))
        running = set(futures)
        while running:
            ended, running = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                future.result()
            while previews and monitor.on_preview is not None:
                monitor.on_preview(*previews.pop(0))
            monitor(sum(done) / count)
    finally:
        stop.set()
        _end(futures)
    return [future.result() for future in futures]


def _work(share: int, task: Callable[[Part], Result], part: Part) -> Result:
    """In a thread of a pool."""
    _SELF.threads = share
    return task(part)


def _end(futures: Sequence[Future[Result]]) -> None:
    for future in futures:
        future.cancel()
    wait(futures)


def _pool() -> ThreadPoolExecutor:
    """Threads that work for this one: with one pool for all, parts could wait for threads that wait for parts.

    The threads of a pool do not survive a fork, so a child makes its own.
    """
    wanted = os.getpid(), thread_count()
    if getattr(_SELF, "pool_for", None) != wanted:
        _SELF.pool = ThreadPoolExecutor(thread_count(), "side-by-side", initializer=_begin_thread)
        _SELF.pool_for = wanted
    pool: ThreadPoolExecutor = _SELF.pool
    return pool


def _begin_thread() -> None:
    """One thread for each of torch's operations: more mostly wait for each other here."""
    try:
        torch.get_num_threads()  # Decides, once per thread; it must not do so after the limit.
        _OPENMP.limit(limits=1)
    except Exception:  # A thread that cannot begin would break the pool for good; without the limit it is only slower.
        LOGGER.warning("A thread starts without its limit.", exc_info=True)

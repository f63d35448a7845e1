"""Moments in which the threads that speak to a server run no Python.

Blender calls operators without Python's lock. Inside of `temp_override` they look into the override, a Python
dictionary, and take the lock for that only if no thread at all has it: where another thread runs Python at that
instant, they read without it, and Blender crashes. Measured with bpy 5.0.1: in the first to fourth capture beside two
threads that always compute, and in the 166th of small exports beside a request every tenth of a second. Without an
override 150 renders, 150 with a driver, and 150 undos passed; inside of a stillness 800 exports.

So an operator is called inside of an override only where it needs one, and then inside of `stillness`.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SETTLE_SECONDS = 0.02
"""Until a thread that computes has come to its next `stay`: a piece of a transfer takes a few milliseconds."""

_may_go_on = threading.Event()
_may_go_on.set()


@contextmanager
def stillness() -> Iterator[None]:
    """Hold the threads up; for Blender's main thread.

    A thread that waits for its server stays in that wait, or for a few microseconds leaves it for the next `stay`.
    """
    try:
        _may_go_on.clear()
        time.sleep(SETTLE_SECONDS)
        yield
    finally:
        _may_go_on.set()


def stay() -> None:
    """Wait for the end of a stillness, if there is one; for threads, before and after each wait of another kind.

    The main thread, whose stillness it is, goes on: what an operator calls back may speak to a server.
    """
    if threading.current_thread() is not threading.main_thread():
        _may_go_on.wait()

"""Ends a process together with what it has started."""

import os
import signal
from contextlib import suppress

import psutil


def kill_tree(leader: int) -> None:
    """Kill a process that leads a group of its own, and every process that it has started; it may have ended.

    Args:
        leader: Its id. Windows knows no groups: there, what it has started is found as long as it runs.
    """
    if hasattr(os, "killpg"):
        # No group: it had no time to open one, or all of it has ended. macOS refuses a process that is just ending.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    with suppress(psutil.Error):
        process = psutil.Process(leader)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.Error):
                one.kill()

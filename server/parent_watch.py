"""Stops the server when the program that started it is gone, so that a crashed Blender leaves no server behind."""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 0.5


def watch_parent(pid: int, on_gone: Callable[[], None]) -> None:
    """Call `on_gone` from a background thread once the process `pid` has ended."""
    is_parent = os.getppid() == pid

    def watch() -> None:
        never = threading.Event()
        # a dead parent can stay visible as a zombie; that this process was given to another one is certain
        while process_exists(pid) and (not is_parent or os.getppid() == pid):
            never.wait(POLL_SECONDS)
        on_gone()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def end_with_the_server() -> None:
    """End this process, too, once the server has closed or lost the pipe that is the standard input."""

    def wait() -> None:
        _wait_for_end_of_input()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-the-server", daemon=True).start()


if sys.platform == "win32":

    def _wait_for_end_of_input() -> None:
        import msvcrt

        # A read that waits there holds up every library that looks at the standard input while it is loaded, as NumPy
        # does (measured), so the pipe is only asked whether its other end is open.
        peek = ctypes.WinDLL("kernel32").PeekNamedPipe
        peek.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, *[ctypes.c_void_p] * 3]
        pipe = msvcrt.get_osfhandle(0)
        while peek(pipe, None, 0, None, None, None):
            time.sleep(POLL_SECONDS)

    def process_exists(pid: int) -> bool:
        """Whether a process with this id runs."""
        synchronize, wait_timeout = 0x00100000, 0x102
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        try:
            return kernel.WaitForSingleObject(handle, 0) == wait_timeout
        finally:
            kernel.CloseHandle(handle)

else:

    def _wait_for_end_of_input() -> None:
        # Not through sys.stdin, whose lock a thread must not hold when Python ends.
        os.read(0, 1)

    def process_exists(pid: int) -> bool:
        """Whether a process with this id runs; a zombie does not."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        try:
            # the state follows the name, which stands in parentheses and may hold anything: proc(5)
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (OSError, IndexError):
            return True  # no /proc here (macOS)

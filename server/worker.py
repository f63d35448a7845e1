"""The server's hold on its worker process: start, talk, notice death, kill."""

import contextlib
import multiprocessing
import signal
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from gvf_core.process_tree import kill_tree
from server.worker_process import CancelTask, JobTask, WorkerMessage, run_worker


class Worker:
    """One worker process. Owned by a single thread, which alone may call its methods.

    Spawn and not fork: a forked child would inherit the server's threads in an unknown state, and CUDA
    refuses to work after a fork.

    Args:
        job_function: "module:function" that the process imports and runs for each job.
        gpu: The one GPU that it sees, as in CUDA_VISIBLE_DEVICES; None leaves that to the environment.
    """

    def __init__(self, job_function: str, gpu: str | None) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # inherited by the process: Ctrl-C in the server's terminal is the server's to handle, also while the worker
            # imports; starting the tracker, which the first process would do, unblocks the signal again
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=run_worker, args=(theirs, job_function, gpu), name="gvf-worker")
        self._process.start()
        theirs.close()  # so that the death of the process closes the connection

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    @property
    def death(self) -> str:
        """How the process ended, in words."""
        code = self._process.exitcode
        if code is None:
            return "it still runs"
        if code < 0:
            return f"signal {-code}, {signal.strsignal(-code)}"
        return f"exit code {code}"

    def send(self, message: JobTask | CancelTask) -> None:
        """Send a message; a dead process does not receive it, which `is_alive` tells."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(message)

    def wait(self, wake: Connection, timeout: float | None) -> list[WorkerMessage]:
        """Sleep until the worker says something, dies, `wake` is written to, or the time is over.

        Returns:
            Messages of the worker, oldest first. What it said before it died is among them.
        """
        wait([wake, self._connection, self._process.sentinel], timeout)
        while wake.poll():
            wake.recv_bytes()
        messages = []
        try:
            while self._connection.poll():
                messages.append(self._connection.recv())
        except (EOFError, OSError):
            # the worker is gone or going: join so that is_alive is exact from here on
            self._process.join(timeout=1.0)
        return messages

    def kill(self) -> None:
        """End the process and its helper processes now. Nothing it works on survives, by design."""
        kill_tree(self.pid)
        self._process.kill()
        self._process.join()
        self._connection.close()

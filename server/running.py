"""One run of the server: locks, socket, worker and handshake, and their clean end in reverse order."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from gvf_core import __version__
from server.app import create_app
from server.errors import StartError
from server.handshake import Handshake, published
from server.job_table import JobTable
from server.locking import LockedError, exclusive_lock
from server.parent_watch import watch_parent
from server.storage import Storage
from server.supervisor import Supervisor

LOGGER = logging.getLogger(__name__)

GRACEFUL_SHUTDOWN_SECONDS = 2
"""For requests in flight at the end. Event streams need none of it: their jobs end first."""


@dataclass(frozen=True)
class ServerOptions:
    """How to run.

    Attributes:
        handshake: Where the handshake file goes.
        data: Folder of uploads and results.
        port: Port on 127.0.0.1; 0 lets the operating system choose.
        parent_pid: Process whose end ends the server.
        max_blob_bytes: Largest accepted upload.
        job_function: "module:function" that the worker runs for each job.
    """

    handshake: Path
    data: Path
    port: int
    parent_pid: int | None
    max_blob_bytes: int
    job_function: str


class _HttpServer(uvicorn.Server):
    """uvicorn that publishes the handshake while it accepts connections, and ends the jobs before it drains them."""

    def __init__(self, config: uvicorn.Config, handshake: Handshake, path: Path, supervisor: Supervisor) -> None:
        super().__init__(config)
        self._supervisor = supervisor
        self._publication = published(handshake, path)
        self._published = contextlib.ExitStack()
        self.start_error: StartError | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        try:
            self._published.enter_context(self._publication)
        except StartError as error:
            # raised here, it would skip uvicorn's own shutdown and fill the log with the consequences
            self.start_error = error
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._published.close()
        # this holds up the event loop for as long as it takes to kill the worker; nobody is to be served any more
        self._supervisor.stop()
        await super().shutdown(sockets)


def run_server(options: ServerOptions) -> int:
    """Serve until SIGTERM, SIGINT, POST /v1/shutdown or the end of the parent process.

    Returns:
        Exit status: 1 if a defect of the server ended it.

    Raises:
        StartError: Another server uses the handshake file or the data folder, the port is busy, or a folder
            cannot be written.
    """
    with contextlib.ExitStack() as held:
        handshake_lock = options.handshake.with_name(options.handshake.name + ".lock")
        _lock(held, handshake_lock, f"handshake file {options.handshake}", "--handshake")
        _lock(held, options.data / "lock", f"data folder {options.data}", "--data")
        storage = _open_storage(options)
        listener = held.enter_context(_listen(options.port))
        port = listener.getsockname()[1]
        handshake = Handshake(f"http://127.0.0.1:{port}", secrets.token_urlsafe(32), os.getpid(), __version__)
        crashed = False

        def stop() -> None:
            server.should_exit = True

        def on_crash() -> None:
            nonlocal crashed
            crashed = True
            stop()

        table = JobTable()
        supervisor = Supervisor(table, storage, options.job_function, on_crash)
        app = create_app(table, storage, supervisor, handshake.token, port, stop)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
        )
        server = _HttpServer(config, handshake, options.handshake, supervisor)
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises the signal once more after its own clean end; here it must not cut ours short
            signal.signal(number, lambda *_: stop())
        if options.parent_pid is not None:
            watch_parent(options.parent_pid, stop)
        supervisor.start()
        held.callback(supervisor.stop)
        LOGGER.info("serving on %s, data in %s", handshake.address, options.data)
        server.run(sockets=[listener])
        if server.start_error is not None:
            raise server.start_error
        LOGGER.info("stopped")
        return 1 if crashed else 0


def _lock(held: contextlib.ExitStack, path: Path, what: str, flag: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        held.enter_context(exclusive_lock(path))
    except LockedError as error:
        raise StartError(
            f"Another GVF server is running with the {what}.", f"Use that one, stop it, or choose another {flag}."
        ) from error
    except OSError as error:
        raise StartError(f"The {what} cannot be used ({error}).", f"Choose another {flag}.") from error


def _open_storage(options: ServerOptions) -> Storage:
    try:
        return Storage(options.data, options.max_blob_bytes)
    except OSError as error:
        raise StartError(
            f"The data folder {options.data} cannot be used ({error}).", "Choose another --data."
        ) from error


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform == "win32":
        # there, SO_REUSEADDR would let two servers share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise StartError(
            f"Port {port} on 127.0.0.1 cannot be opened ({error}).", "Choose another --port, or 0 for any free one."
        ) from error
    return listener

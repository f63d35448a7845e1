"""One run of the server: locks, socket, worker and handshake, and their clean end in reverse order."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

from gvf_core import __version__
from server.access import Entrance
from server.app import create_app
from server.configuration import LOCAL, ServerOptions
from server.connections import Connection, prepare_for_connections
from server.device import installed_gpus
from server.errors import StartError, StorageError
from server.handshake import Handshake, published
from server.locking import LockedError, exclusive_lock
from server.log import configure_logging
from server.parent_watch import watch_parent
from server.service import Service, open_service

LOGGER = logging.getLogger(__name__)

GRACEFUL_SHUTDOWN_SECONDS = 2
"""For requests in flight at the end. Event streams need none of it: their jobs end first."""


class _HttpServer(uvicorn.Server):
    """uvicorn that publishes the handshake while it accepts connections, and ends the jobs before it drains them."""

    def __init__(self, config: uvicorn.Config, handshake: Handshake, path: Path, service: Service) -> None:
        super().__init__(config)
        self._service = service
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
        self._service.probe.stop()
        self._service.fleet.stop()
        self._service.announcements.close()
        await super().shutdown(sockets)


def run_server(options: ServerOptions) -> int:
    """Serve until SIGTERM, SIGINT, POST /v1/shutdown or the end of the parent process.

    Returns:
        Exit status: 1 if a defect of the server ended it.

    Raises:
        StartError: Another server uses the handshake file or the data folder, the port is busy, or a folder
            cannot be written.
    """
    if sys.platform != "win32":
        os.umask(0o077)  # what artists upload is nobody else's, also in a folder that is open to all
    with contextlib.ExitStack() as held:
        handshake_lock = options.handshake.with_name(options.handshake.name + ".lock")
        _lock(held, handshake_lock, f"handshake file {options.handshake}", "--handshake")
        _lock(held, options.data / "lock", f"data folder {options.data}", "--data")
        token = options.token or secrets.token_urlsafe(32)
        configure_logging(options.log_format, options.data / "server.log", (token,))
        prepare_for_connections()
        listener = held.enter_context(_listen(options.host, options.port))
        port = listener.getsockname()[1]
        entrance = Entrance(
            token,
            f"{_reachable(options.host)}:{port}",
            frozenset(f"{name.strip().lower()}:{port}" for name in ("localhost", *options.allowed_hosts)),
        )
        handshake = Handshake(f"http://{entrance.address}", token, os.getpid(), __version__)
        crashed = False

        def stop() -> None:
            server.should_exit = True

        def on_crash() -> None:
            nonlocal crashed
            crashed = True
            stop()

        service = _open_service(options, stop, on_crash)
        held.callback(service.database.close)
        config = uvicorn.Config(
            create_app(service, entrance),
            log_config=None,
            log_level="warning",
            access_log=False,
            http=Connection,
            ws="none",
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
        )
        server = _HttpServer(config, handshake, options.handshake, service)
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises the signal once more after its own clean end; here it must not cut ours short
            signal.signal(number, lambda *_: stop())
        if options.parent_pid is not None:
            watch_parent(options.parent_pid, stop)
        service.fleet.start()
        held.callback(service.fleet.stop)
        held.callback(service.weights.stop)
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


def _open_service(options: ServerOptions, stop: Callable[[], None], on_crash: Callable[[], None]) -> Service:
    try:
        job_function, workers = _on_cluster(options) if options.executor != LOCAL else _on_this_machine(options)
        return open_service(
            options.data,
            options.limits,
            job_function,
            options.probes_media,
            workers,
            options.executor == LOCAL,
            stop,
            on_crash,
        )
    except StorageError as error:
        raise StartError(error.message, error.hint) from error
    except OSError as error:
        raise StartError(
            f"The data folder {options.data} cannot be used ({error}).", "Choose another --data."
        ) from error


def _on_this_machine(options: ServerOptions) -> tuple[str, list[str | None]]:
    """The job function, and the GPU of each worker; without one, a worker uses the CPU."""
    gpus = installed_gpus() if options.gpus is None else options.gpus
    if len(gpus) > 1:
        # What workers lay side by side takes all cores otherwise, in each of them.
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(gpus))))
    return options.job_function, [*gpus] or [None]


def _on_cluster(options: ServerOptions) -> tuple[str, list[str | None]]:
    """The job function that asks the cluster, told through the environment which one and for what."""
    os.environ |= {
        "GVF_RAY_ADDRESS": options.executor,
        "GVF_RAY_JOB_FUNCTION": options.job_function,
        "GVF_RAY_MEMORY_BYTES": str(round(options.cluster_memory_gb * 1e9)),
    }
    return "server.ray_job:ray_job", [None] * options.cluster_workers


def _reachable(host: str) -> str:
    """Under which address this machine reaches a server that listens there; everywhere is here, too."""
    if ":" in host:
        return "[::1]" if host == "::" else f"[{host}]"
    return "127.0.0.1" if host in ("0.0.0.0", "localhost") else host


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform == "win32":
        # there, SO_REUSEADDR would let two servers share the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise StartError(
            f"Port {port} on {host} cannot be opened ({error}).", "Choose another --port, or 0 for any free one."
        ) from error
    return listener

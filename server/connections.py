"""Connections that have not said yet what they want: they need no token, so their time and number are bounded."""

import asyncio
import logging
import socket
import sys

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""Until the head of a request is complete; one that is sent on this machine takes milliseconds."""
WANTED_FILES = 8192
OWN_FILES = 200
"""What the server itself needs open: database, log, uploads, worker, media processes."""
NOISE = frozenset({"Invalid HTTP request received.", "Unsupported upgrade request."})
"""What anybody could fill the log with; h11 answers it."""


class Connection(H11Protocol):
    """One connection, closed if a request on it does not begin in time, or if there are too many."""

    most = WANTED_FILES - OWN_FILES
    _expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or hang up."""
        super().connection_made(transport)
        # Nagle's algorithm held up each answer by 40 ms. asyncio switches it off by itself where accepted sockets
        # know their protocol, which they do not on Windows.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.most:
            transport.close()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Go on reading; the clock runs while what has come is no whole head."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    @property
    def _awaits_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if not self._awaits_head:
            self._stop_clock()
        elif self._expiry is None:
            self._expiry = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        if self._awaits_head:
            self.transport.close()

    def _stop_clock(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


def prepare_for_connections() -> None:
    """Let this process open as many files as it may, at most `WANTED_FILES`, and keep the log free of `NOISE`."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.getMessage() not in NOISE)
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
        if soft != resource.RLIM_INFINITY and soft < allowed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
        if soft != resource.RLIM_INFINITY:
            Connection.most = max(16, min(soft, WANTED_FILES) - OWN_FILES)

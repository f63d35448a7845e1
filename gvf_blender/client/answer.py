"""Answers of a server that have to arrive in time, however many pieces they come in."""

import http.client
import io
import socket
import time
from typing import Any

from ..core.stillness import stay


class Answer(http.client.HTTPResponse):
    """An answer with a deadline.

    A timeout of the socket alone begins again with every byte: a server that sends one every three seconds, or
    announces an answer for ever, would be waited for without end. Here the connection's timeout holds for the whole
    answer, from its first line on, unless `renew` begins it again.

    Attributes:
        timeout: Seconds.
    """

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.timeout: float = sock.gettimeout() or 0.0
        self._arriving = _Arriving(self.fp.detach(), sock, self.timeout)
        self.fp = io.BufferedReader(self._arriving)

    def renew(self) -> None:
        """Give what is still to come the whole timeout again."""
        self._arriving.wait_until(self.timeout)


class _Arriving(io.RawIOBase):
    """What comes from a socket until a deadline.

    Args:
        raw: Reads from the socket.
        sock: The socket.
        seconds: Until the deadline.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, seconds: float) -> None:
        self._raw, self._sock = raw, sock
        self.wait_until(seconds)

    def wait_until(self, seconds: float) -> None:
        """Move the deadline to so many seconds from now."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Wait for bytes.

        Raises:
            TimeoutError: The deadline is over.
        """
        self._stay()
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(seconds)
        try:
            return self._raw.readinto(buffer)  # type: ignore[attr-defined]
        finally:
            self._stay()

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _stay(self) -> None:
        """A stillness takes nothing from the time."""
        began = time.monotonic()
        stay()
        self._deadline += time.monotonic() - began

"""HTTP requests to one server with `http.client`, and the sentences for everything that can go wrong with them.

`http.client` and not `urllib`: no proxy settings of the system apply to it, which would send loopback traffic away,
and it streams uploads. Each request has a connection of its own, so threads share nothing.
"""

import http.client
import json
import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import ServerError
from ..core.stillness import stay
from .answer import Answer
from .handshake import START_HINT

MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_PICTURE_BYTES = 4_000_000
MAX_LINE_BYTES = 64 * 1024
"""Of a stream of events: a status has a few hundred bytes."""
PIECE_BYTES = 64 * 1024
OPEN_PATHS = frozenset({"/v1/health"})
"""They need no token, and whatever answers there has not yet said what it is."""

_MANY_DIGITS = 20

WAIT_SECONDS = 0.2
"""Between two calls of a caller that wants to be asked while it waits."""


class Transport:
    """Sends requests.

    Args:
        address: "http://HOST:PORT".
        token: Bearer token.
        timeout: Seconds that connecting may take, sending a piece, and an answer, or a piece of one that comes in many.

    Raises:
        ServerError: The address is none, or the token has characters that no token has.
    """

    def __init__(self, address: str, token: str, timeout: float) -> None:
        self.address = address.rstrip("/")
        self.timeout = timeout
        self._token = token
        try:
            parts = urlsplit(self.address)
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            self._host = None
        if not self._host or not _is_host(self._host) or parts.scheme not in ("http", "https"):
            raise ServerError(
                f"{address!r} is not the address of a server.", "Enter one like http://127.0.0.1:8000.", "unreachable"
            )
        if not token.isascii() or not token.isprintable():
            raise ServerError(
                f"The token for the server at {self.address} has characters that no token has, such as line ends.",
                "Copy the token from the handshake file of that server, or remove it to use the file.",
                "wrong_token",
            )
        self._connection_type = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        timeout: float | None = None,
        while_waiting: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Send a request with an optional JSON body and return the JSON object of the answer.

        Args:
            method: HTTP method.
            path: Path and query.
            body: To send.
            timeout: Instead of the usual one.
            while_waiting: Called several times a second until the answer comes; what it raises ends the connection.

        Raises:
            ServerError: No answer, a refusal, or an answer that is not a JSON object.
        """
        encoded = b"" if body is None else json.dumps(body).encode()
        with self.exchange(
            method, path, [encoded], len(encoded), "application/json", timeout, None, while_waiting
        ) as response:
            decoded = self._decode(response)
        if decoded is None:
            raise self.wrong_service("its answer is not a JSON object")
        return decoded

    def uploaded(self, path: str) -> int | None:
        """How many bytes of an upload the server has; None if it has all of it.

        Raises:
            ServerError: No answer, or another refusal than 404.
        """
        with self._send("HEAD", path, [], 0, {}, self.timeout) as response:
            status, offset = response.status, response.headers.get("Upload-Offset", "0")
        if status not in (200, 404):
            # an answer to HEAD has no body that could say why; the same request as GET to a harmless place has
            self.json("GET", "/v1/capabilities")
            raise self.wrong_service(f"it answers {status} to HEAD {path}")
        if status == 200:
            return None
        return int(offset) if offset.isdecimal() and len(offset) < _MANY_DIGITS else 0

    def picture(self, path: str, etag: str) -> tuple[bytes, str] | None:
        """A file that changes, and its ETag; None if the server has none, or still the one of that ETag.

        Raises:
            ServerError: No answer, or another refusal than 404.
        """
        with self._send("GET", path, [], 0, {"If-None-Match": etag}, self.timeout) as response:
            if response.status in (304, 404):
                return None
            if response.status != 200:
                raise self._refusal(response)
            return self.whole(response, MAX_PICTURE_BYTES), response.getheader("ETag", "")

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] = (),
        size: int = 0,
        content_type: str = "application/octet-stream",
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        while_waiting: Callable[[], None] | None = None,
    ) -> Iterator[Answer]:
        """Send a request and give its successful answer, to be read inside the context.

        Args:
            method: HTTP method.
            path: Path and query.
            body: Pieces of the body; what it raises passes through unchanged.
            size: Length of the body in bytes.
            content_type: Of the body.
            timeout: Instead of the usual one.
            headers: Further headers.
            while_waiting: Called several times a second until the answer comes; may raise.

        Raises:
            ServerError: No answer, or a refusal.
        """
        headers = {"Content-Type": content_type, **(headers or {})}
        with self._send(method, path, body, size, headers, timeout or self.timeout, while_waiting) as response:
            if not 200 <= response.status < 300:
                raise self._refusal(response)
            yield response

    def whole(self, answer: Answer, limit: int = MAX_JSON_BYTES) -> bytes:
        """The content of an answer that is over soon.

        Args:
            answer: The answer.
            limit: Bytes that nothing the server has to say exceeds.

        Raises:
            ServerError: It is longer, was not complete in time, or the connection broke.
        """
        content = bytearray()
        while len(content) <= limit and (piece := self._arrived(answer, PIECE_BYTES)):
            content += piece
        if len(content) > limit:
            raise self.wrong_service(f"its answer is longer than {limit:,} bytes")
        if answer.length:
            raise self._broken(http.client.IncompleteRead(bytes(content), answer.length))
        return bytes(content)

    def lines(self, answer: Answer) -> Iterator[bytes]:
        """The lines of an answer that goes on as long as it likes; one that broke off is left out.

        Raises:
            ServerError: One is too long, was not complete in time, or the connection broke.
        """
        begun = b""
        answer.renew()
        while piece := self._arrived(answer, PIECE_BYTES):
            *lines, begun = (begun + piece).split(b"\n")
            if max(map(len, (*lines, begun))) > MAX_LINE_BYTES:
                raise self.wrong_service(f"a line of its events is longer than {MAX_LINE_BYTES:,} bytes")
            for line in lines:
                yield line
                answer.renew()

    def pieces(self, answer: Answer, size: int) -> Iterator[bytes]:
        """The content of an answer of any length as it arrives, at most `size` bytes at once.

        Raises:
            ServerError: Nothing came in time, or the connection broke.
        """
        answer.renew()
        while piece := self._arrived(answer, size):
            yield piece
            answer.renew()

    def _arrived(self, answer: Answer, size: int) -> bytes:
        """Wait for some of an answer.

        Not by `read` or `readline`, which take all there is to come, whatever they are told, where a chunk says that it
        has -1 bytes.
        """
        try:
            return answer.read1(size)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error, answer.timeout) from error

    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        body: Iterable[bytes],
        size: int,
        headers: Mapping[str, str],
        timeout: float,
        while_waiting: Callable[[], None] | None = None,
    ) -> Iterator[Answer]:
        assert self._host
        stay()
        connection = self._connection_type(self._host, self._port, timeout=timeout)
        connection.response_class = Answer
        try:
            try:
                connection.connect()
            except OSError as error:
                raise ServerError(f"Nothing answers at {self.address} ({error}).", START_HINT, "unreachable") from error
            connection.putrequest(method, path, skip_accept_encoding=True)
            if path not in OPEN_PATHS:
                connection.putheader("Authorization", f"Bearer {self._token}")
            if method in ("PUT", "POST"):
                connection.putheader("Content-Length", str(size))
            for name, value in headers.items():
                connection.putheader(name, value)
            try:
                connection.endheaders()
                for piece in body:
                    connection.send(piece)
                    stay()
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server stopped listening because it has an answer already: read it
            except OSError as error:
                raise self._broken(error, timeout) from error
            try:
                if while_waiting is not None:
                    _wait(connection, timeout, while_waiting)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._broken(error, timeout) from error
            assert isinstance(response, Answer)
            with response:
                yield response
        finally:
            connection.close()

    def _decode(self, response: Answer) -> dict[str, Any] | None:
        content = self.whole(response)
        try:
            decoded = json.loads(content)
        except (ValueError, RecursionError):
            return None
        return decoded if isinstance(decoded, dict) else None

    def _refusal(self, response: Answer) -> ServerError:
        error = (self._decode(response) or {}).get("error")
        if isinstance(error, dict):
            return ServerError(str(error.get("message")), str(error.get("hint", "")), str(error.get("code", "server")))
        return self.wrong_service(f"it answers {response.status} {response.reason}")

    def wrong_service(self, reason: str) -> ServerError:
        """What listens at the address is not the server that was expected there."""
        return ServerError(
            f"Another service answers at {self.address}, not a GVF server ({reason}).",
            "Correct the address, or remove it to use the handshake file of the running server.",
            "wrong_service",
        )

    def _broken(self, error: Exception, timeout: float | None = None) -> ServerError:
        if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError | http.client.IncompleteRead):
            return self.wrong_service("it does not speak HTTP")
        if isinstance(error, TimeoutError):
            return ServerError(
                f"The server at {self.address} did not answer within {timeout or self.timeout:g} seconds.",
                "Look at its log; restart it if it hangs.",
                "unreachable",
            )
        return ServerError(
            f"The server at {self.address} closed the connection ({error or type(error).__name__}).",
            f"Look at its log. {START_HINT}",
            "unreachable",
        )


def _is_host(name: str) -> bool:
    """Whether a name can be asked for at all; `http.client` and the resolver raise errors of their own otherwise."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return name.isprintable() and " " not in name


def _wait(connection: http.client.HTTPConnection, timeout: float, while_waiting: Callable[[], None]) -> None:
    """Wait until an answer begins, or the connection ends.

    Raises:
        TimeoutError: Neither happened in time.
    """
    deadline = time.monotonic() + timeout
    while not select.select([connection.sock], [], [], WAIT_SECONDS)[0]:
        if time.monotonic() > deadline:
            raise TimeoutError
        stay()
        while_waiting()

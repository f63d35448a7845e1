"""Who may talk to the server: holders of the token, and never a web page.

Loopback alone protects nothing: every page in the artist's browser can send requests to 127.0.0.1. Such
requests carry the page's Origin, or after DNS rebinding its Host; both are refused before anything else.
"""

import hmac
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.answers import error_response
from server.errors import ForeignRequestError, ServerError, UnauthorizedError

OPEN_PATHS = frozenset({"/v1/health"})


@dataclass(frozen=True)
class Entrance:
    """Who may come in.

    Attributes:
        token: The bearer token.
        address: Where the server says that it is: "HOST:PORT".
        names: Further names under which requests may ask for it: "HOST:PORT" in lower case.
    """

    token: str = field(repr=False)
    address: str
    names: frozenset[str] = frozenset()


class AccessControl:
    """ASGI middleware.

    Args:
        app: What it guards.
        entrance: Who may come in.
    """

    def __init__(self, app: ASGIApp, entrance: Entrance) -> None:
        self._app = app
        self._credentials = f"Bearer {entrance.token}".encode()
        self._address = entrance.address
        self._hosts = entrance.names | {entrance.address}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer refused requests, pass the others on."""
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except ServerError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            raise ForeignRequestError(f"There is no host {host!r} here.", f"Use http://{self._address}.")
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            raise ForeignRequestError(f"This server does not answer to pages from {origin!r}.")
        if path in OPEN_PATHS:
            return
        given = headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self._credentials):
            raise UnauthorizedError(
                "The bearer token is missing or wrong.", "Read the token from the handshake file of the running server."
            )

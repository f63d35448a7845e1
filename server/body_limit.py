"""Requests whose body is a message and no upload are small; a larger one is refused before it fills the memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.answers import error_response
from server.errors import BlobTooLargeError

MAX_BODY_BYTES = 1 << 20
"""Settings, names and identifiers: the largest that the extension sends has a few kilobytes."""
UPLOADS = "/v1/blobs/"


class BodyLimit:
    """ASGI middleware; it reads the body, announced or not, before the application does.

    Args:
        app: What it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer requests with too large a body, pass the others on."""
        if scope["type"] != "http" or scope["path"].startswith(UPLOADS):
            await self._app(scope, receive, send)
            return
        read: list[Message] = []
        size = 0
        while not read or read[-1].get("more_body", False):
            read.append(await receive())
            size += len(read[-1].get("body", b""))
            if size > MAX_BODY_BYTES:
                error = BlobTooLargeError(
                    f"The request has more than {MAX_BODY_BYTES:,} bytes.", "Send files with PUT /v1/blobs."
                )
                await error_response(error)(scope, receive, send)
                return

        async def replay() -> Message:
            return read.pop(0) if read else await receive()

        await self._app(scope, replay, send)

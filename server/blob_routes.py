"""Uploads over HTTP: /v1/blobs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from starlette.requests import ClientDisconnect

from server.descriptions import Blob
from server.metrics import UPLOADED_BYTES
from server.service import Service
from server.uploads import Part, Upload

PIECE_BYTES = 1 << 20


def blob_routes(service: Service) -> APIRouter:
    """The routes of uploads."""
    router = APIRouter(tags=["uploads"])

    @router.head(
        "/v1/blobs/{sha256}",
        responses={
            200: {"description": "It is here"},
            404: {"description": "Upload-Offset says how much of it is here"},
        },
    )
    def find_blob(sha256: str) -> Response:
        """Whether a file is here; the header Upload-Offset says how many bytes of it are."""
        if service.storage.has_blob(sha256):
            return Response(headers={"Upload-Offset": str(service.storage.blob(sha256).stat().st_size)})
        return Response(status_code=404, headers={"Upload-Offset": str(service.uploads.offset(sha256))})

    @router.put(
        "/v1/blobs/{sha256}",
        status_code=201,
        responses={
            200: {"description": "It was here already", "model": Blob},
            202: {"description": "More of it is to come", "model": Blob},
            409: {"description": "The part does not begin at Upload-Offset"},
        },
        openapi_extra={
            "requestBody": {
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
                "required": True,
            }
        },
    )
    async def put_blob(
        sha256: str,
        request: Request,
        response: Response,
        content_length: Annotated[int | None, Header(ge=0)] = None,
        content_range: Annotated[str | None, Header()] = None,
    ) -> Blob:
        """Upload a file, or with Content-Range the part of it that is missing."""
        part = Part.from_headers(content_range, content_length)
        if await run_in_threadpool(service.storage.has_blob, sha256):
            response.status_code = 200
            return Blob(sha256, service.storage.blob(sha256).stat().st_size, complete=True)
        async with contextmanager_in_threadpool(service.uploads.receive(sha256, part)) as upload:
            await _write_behind(upload, _pieces(request))
            await run_in_threadpool(upload.commit)
        if not upload.is_complete:
            response.status_code = 202
        response.headers["Upload-Offset"] = str(upload.size)
        return Blob(sha256, upload.size, upload.is_complete)

    return router


async def _write_behind(upload: Upload, pieces: AsyncIterator[bytearray]) -> None:
    """Hash and write each piece while the next one arrives."""
    writing: asyncio.Task[None] | None = None
    try:
        async for piece in pieces:
            if writing is not None:
                await writing
            writing = asyncio.create_task(run_in_threadpool(upload.write, piece))
            UPLOADED_BYTES.inc(len(piece))
    finally:
        if writing is not None:
            await writing


async def _pieces(request: Request) -> AsyncIterator[bytearray]:
    """The body in pieces that are worth a trip to another thread.

    Raises:
        ClientDisconnect: The client hung up; everything that it sent has been given before.
    """
    buffer = bytearray()
    try:
        async for chunk in request.stream():
            buffer += chunk
            if len(buffer) >= PIECE_BYTES:
                yield buffer
                buffer = bytearray()
    except ClientDisconnect:
        yield buffer
        raise
    yield buffer

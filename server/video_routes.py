"""Driving videos over HTTP: /v1/videos."""

import asyncio
import threading

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from gvf_core.settings import AnimateSettings
from server.descriptions import VideoWish
from server.finding import VideoLook
from server.service import Service
from server.storage import safe_name

WATCH_SECONDS = 0.2


def video_routes(service: Service) -> APIRouter:
    """The routes of videos."""
    router = APIRouter(tags=["videos"])
    storage, probe = service.storage, service.probe

    @router.post("/v1/videos/{sha256}/check")
    async def check_video(sha256: str, wish: VideoWish, request: Request) -> VideoLook:
        """What a job would cut out of an uploaded video; ends with the connection. 409 while another is looked at."""
        settings = AnimateSettings.from_dict(wish.settings)
        await run_in_threadpool(storage.require_blob, sha256, f"video {safe_name(wish.video_name or sha256)}")
        gone = threading.Event()
        watching = asyncio.create_task(_watch(request, gone))
        try:
            return await run_in_threadpool(probe.look, storage.blob(sha256), wish.video_name, settings, gone.is_set)
        finally:
            watching.cancel()

    return router


async def _watch(request: Request, gone: threading.Event) -> None:
    """Notice that the client hung up."""
    while not await request.is_disconnected():
        await asyncio.sleep(WATCH_SECONDS)
    gone.set()

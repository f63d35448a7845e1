"""Driving videos over HTTP: /v1/videos."""

from fastapi import APIRouter

from gvf_core.settings import AnimateSettings
from server.descriptions import VideoChecked, VideoWish
from server.errors import UnknownBlobError
from server.service import Service


def video_routes(service: Service) -> APIRouter:
    """The routes of videos."""
    router = APIRouter(tags=["videos"])
    storage, probe = service.storage, service.probe

    @router.post("/v1/videos/{sha256}/check")
    def check_video(sha256: str, wish: VideoWish) -> VideoChecked:
        """What a job would cut out of an uploaded video, and what speaks against it; 409 while another is looked at."""
        settings = AnimateSettings.from_dict(wish.settings)
        if not storage.has_blob(sha256):
            raise UnknownBlobError(
                f"The video {sha256} has not been uploaded, or made room for others.",
                f"Upload it with PUT /v1/blobs/{sha256} first.",
            )
        return VideoChecked(**probe.check(storage.blob(sha256), wish.video_name, settings))

    return router

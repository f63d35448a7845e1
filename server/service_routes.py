"""The server itself over HTTP: health, capabilities, memory, log, metrics, end."""

import time
from typing import Annotated, get_args

from fastapi import APIRouter, Query, Response

from gvf_core import __version__
from gvf_core.models.store import default_store
from gvf_core.settings import RELEASED, EngineName
from server.build import BUILD
from server.descriptions import Acknowledgement, Capabilities, Health, LogTail
from server.jobs import MOST_FURTHER_VIDEOS
from server.log import tail
from server.memory_estimate import available_mb
from server.metrics import CONTENT_TYPE, exposition
from server.service import Service

API_VERSIONS = [1]


def service_routes(service: Service) -> APIRouter:
    """The routes of the server itself."""
    router = APIRouter(tags=["server"])
    fleet, storage = service.fleet, service.storage

    @router.get("/v1/health")
    def health() -> Health:
        """Which service this is; needs no token."""
        return Health(
            service="gvf",
            api=API_VERSIONS,
            version=__version__,
            build=BUILD,
            ready=fleet.state not in ("starting", "unavailable"),
            worker=fleet.state,
            uptime_seconds=round(time.monotonic() - service.started, 3),
        )

    @router.get("/v1/capabilities")
    def capabilities() -> Capabilities:
        """Engines, weights, device, memory and limits."""
        return Capabilities(
            version=__version__,
            engines=list(get_args(EngineName)),
            weights=_weights(),
            formats={"capture": ["gvf-capture/1"], "result": ["gvf-animation/1"]},
            limits=service.limits,
            further_videos=MOST_FURTHER_VIDEOS,
            worker=fleet.state,
            workers=fleet.states,
            devices=fleet.devices,
            memory_available_mb=available_mb(fleet.pids),
            disk_used_bytes=storage.used_bytes(),
        )

    @router.post("/v1/models/unload", status_code=202)
    def unload() -> Acknowledgement:
        """Give back the memory of the models; the next job loads them again. 409 if every worker is busy."""
        fleet.unload()
        return Acknowledgement("unloading")

    @router.get("/v1/log")
    def log(tail_lines: Annotated[int, Query(alias="tail", ge=1, le=10_000)] = 200) -> LogTail:
        """The last lines of the server's log."""
        return LogTail(tail(service.log_file, tail_lines))

    @router.get("/v1/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(exposition(service), media_type=CONTENT_TYPE)

    @router.post("/v1/shutdown", status_code=202)
    def shutdown() -> Acknowledgement:
        """End the server; queued jobs stay queued, a running one is interrupted."""
        service.stop()
        return Acknowledgement("stopping")

    return router


def _weights() -> dict[str, bool]:
    """Every set of weights, and whether it is complete and trained."""
    store = default_store()
    return {name: store.of_set(name).is_ready() for name in (RELEASED, *store.sets())}

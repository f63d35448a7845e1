"""The HTTP interface, version 1; described for its users in docs/protocol.md. Nothing here computes."""

from typing import Any

from fastapi import FastAPI

from gvf_core import __version__
from server.access import AccessControl, Entrance
from server.answers import add_error_handlers
from server.blob_routes import blob_routes
from server.body_limit import BodyLimit
from server.descriptions import ErrorAnswer
from server.job_routes import job_routes
from server.metrics import RequestMetrics
from server.service import Service
from server.service_routes import service_routes
from server.video_routes import video_routes
from server.weights_routes import weights_routes

REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "Refused; the error says why and what to do"},
    "5XX": {"model": ErrorAnswer, "description": "The server cannot do it; the error says why and what to do"},
}


def create_app(service: Service, entrance: Entrance) -> FastAPI:
    """The application.

    Args:
        service: What it serves.
        entrance: Who may come in.
    """
    app = FastAPI(
        title="GVF server", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json"
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestMetrics)
    app.add_middleware(AccessControl, entrance=entrance)
    add_error_handlers(app)
    for routes in (service_routes, weights_routes, blob_routes, video_routes, job_routes):
        app.include_router(routes(service), responses=REFUSALS)
    return app

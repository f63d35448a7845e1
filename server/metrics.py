"""Figures for Prometheus."""

import time
from collections.abc import Iterator

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.service import Service

CONTENT_TYPE = CONTENT_TYPE_LATEST
REGISTRY = CollectorRegistry()
"""Of our own: the library's default one brings figures of the Python process under other names."""

UPLOADED_BYTES = Counter("gvf_uploaded_bytes", "Bytes of uploads received", registry=REGISTRY)
REQUESTS = Counter("gvf_http_requests", "Requests answered", ["method", "route", "status"], registry=REGISTRY)
SECONDS = Histogram(
    "gvf_http_first_byte_seconds",
    "Time to the first byte of the answer",
    ["method", "route"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
    registry=REGISTRY,
)


class RequestMetrics:
    """ASGI middleware that counts and times requests.

    Args:
        app: What it measures.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # the pattern of the route and not the path, which would be another series for every job
                route = getattr(scope.get("route"), "path", "none")
                REQUESTS.labels(scope["method"], route, message["status"]).inc()
                SECONDS.labels(scope["method"], route).observe(time.perf_counter() - begin)
            await send(message)

        await self._app(scope, receive, counted)


def exposition(service: Service) -> bytes:
    """Everything in Prometheus' text format."""
    fresh = CollectorRegistry()
    fresh.register(_ServiceFigures(service))
    return generate_latest(REGISTRY) + generate_latest(fresh)


class _ServiceFigures:
    """What the service knows already, asked when it is wanted."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service = self._service
        jobs = GaugeMetricFamily("gvf_jobs", "Jobs by state", labels=["state"])
        for state, count in service.table.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        for name, text, value in (
            ("gvf_disk_used_bytes", "Uploads and results", service.storage.used_bytes()),
            ("gvf_disk_quota_bytes", "What they may take", service.limits.disk_bytes),
            ("gvf_resident_bytes", "Memory of the server process", psutil.Process().memory_info().rss),
            ("gvf_uptime_seconds", "Since the start", time.monotonic() - service.started),
        ):
            yield GaugeMetricFamily(name, text, value)
        workers = GaugeMetricFamily("gvf_workers", "Workers by state", labels=["state"])
        states = service.fleet.states
        for doing in sorted(set(states)):
            workers.add_metric([doing], states.count(doing))
        yield workers

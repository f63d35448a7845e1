"""The HTTP interface, version 1; described for its users in docs/protocol.md. Nothing here computes."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, get_args

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field

from gvf_core import __version__
from gvf_core.models.store import default_store
from gvf_core.settings import RELEASED, AnimateSettings, EngineName
from server.access import AccessControl
from server.answers import add_error_handlers
from server.errors import NoResultError, UnknownBlobError
from server.event_stream import event_stream
from server.job_table import JobTable
from server.jobs import JobRequest, JobState
from server.storage import Storage
from server.supervisor import Supervisor

API_VERSIONS = [1]
UPLOAD_CHUNK_BYTES = 1 << 20


class JobSubmission(BaseModel):
    """Body of POST /v1/jobs."""

    capture: str = Field(description="sha256 of the uploaded capture file")
    video: str = Field(description="sha256 of the uploaded driving video")
    video_name: str = Field("", max_length=255, description="name of the video, for messages")
    settings: dict[str, Any] = Field(default_factory=dict, description="fields of AnimateSettings")
    idempotency_key: str = Field(min_length=1, max_length=200, description="same key, same job")


def create_app(
    table: JobTable, storage: Storage, supervisor: Supervisor, token: str, port: int, stop: Callable[[], None]
) -> FastAPI:
    """The application.

    Args:
        table: Jobs.
        storage: Uploads and results.
        supervisor: Runs the jobs.
        token: The bearer token that every request but GET /v1/health must carry.
        port: Port of the server, for the check of the Host header.
        stop: Asks the server to end.
    """
    app = FastAPI(
        title="GVF server", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json"
    )
    app.add_middleware(AccessControl, token=token, port=port)
    add_error_handlers(app)

    @app.get("/v1/health")
    def health() -> dict[str, Any]:
        return {"service": "gvf", "api": API_VERSIONS, "version": __version__}

    @app.get("/v1/capabilities")
    def capabilities() -> dict[str, Any]:
        return {
            "version": __version__,
            "engines": list(get_args(EngineName)),
            "weights": _weights(),
            "formats": {"capture": ["gvf-capture/1"], "result": ["gvf-animation/1"]},
            "limits": {"max_blob_bytes": storage.max_blob_bytes},
            "worker": supervisor.worker_state,
        }

    @app.head("/v1/blobs/{sha256}")
    def has_blob(sha256: str) -> Response:
        return Response(status_code=200 if storage.blob(sha256).exists() else 404)

    @app.put("/v1/blobs/{sha256}", status_code=201)
    async def put_blob(
        sha256: str, request: Request, response: Response, content_length: Annotated[int | None, Header()] = None
    ) -> dict[str, Any]:
        if storage.blob(sha256).exists():
            response.status_code = 200
            return {"sha256": sha256}
        with storage.upload(sha256, content_length) as upload:
            buffer = bytearray()
            async for chunk in request.stream():
                buffer += chunk
                if len(buffer) >= UPLOAD_CHUNK_BYTES:
                    await run_in_threadpool(upload.write, buffer)
                    buffer = bytearray()
            await run_in_threadpool(upload.write, buffer)
            await run_in_threadpool(upload.commit)
        return {"sha256": sha256}

    @app.post("/v1/jobs", status_code=202)
    def submit_job(submission: JobSubmission) -> dict[str, Any]:
        settings = AnimateSettings.from_dict(submission.settings)
        for kind, sha256 in (("capture", submission.capture), ("video", submission.video)):
            if not storage.blob(sha256).exists():
                raise UnknownBlobError(
                    f"The {kind} {sha256} has not been uploaded.", f"Upload it with PUT /v1/blobs/{sha256} first."
                )
        if settings.engine == "diffusion":
            default_store().of_set(settings.weights).for_animating()
        job = JobRequest(submission.capture, submission.video, submission.video_name, settings)
        status = table.submit(job, submission.idempotency_key)
        supervisor.wake()
        return asdict(status)

    @app.get("/v1/jobs")
    def list_jobs() -> dict[str, Any]:
        return {"jobs": [asdict(status) for status in table.statuses()]}

    @app.get("/v1/jobs/{job_id}")
    def job_status(job_id: str) -> dict[str, Any]:
        return asdict(table.status(job_id))

    @app.get("/v1/jobs/{job_id}/events")
    async def job_events(job_id: str, after: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
        table.status(job_id)  # an unknown job is a 404 before the stream begins
        return StreamingResponse(event_stream(table, job_id, after), media_type="text/event-stream")

    @app.post("/v1/jobs/{job_id}/cancel")
    def cancel_job(job_id: str) -> dict[str, Any]:
        status = table.cancel(job_id)
        supervisor.wake()
        return asdict(status)

    @app.get("/v1/jobs/{job_id}/result")
    def job_result(job_id: str) -> FileResponse:
        status = table.status(job_id)
        if status.state is not JobState.SUCCEEDED:
            hint = "Submit the job again." if status.state.is_terminal else "Wait until it has succeeded."
            raise NoResultError(f"Job {job_id} is {status.state} and has no result.", hint)
        path = storage.result(job_id)
        if not path.exists():
            raise NoResultError(f"The result of job {job_id} was deleted from {path.parent}.", "Submit the job again.")
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)

    @app.post("/v1/shutdown", status_code=202)
    def shutdown() -> dict[str, Any]:
        stop()
        return {"state": "stopping"}

    return app


def _weights() -> dict[str, bool]:
    """Every set of weights, and whether it is complete and trained."""
    store = default_store()
    return {name: store.of_set(name).is_ready() for name in (RELEASED, *store.sets())}

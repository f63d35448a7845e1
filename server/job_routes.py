"""Jobs over HTTP: /v1/jobs."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import FileResponse, StreamingResponse

from gvf_core.settings import AnimateSettings
from server.descriptions import OUTPUT_NAME, JobDescription, JobList, JobSubmission, describe
from server.errors import InvalidRequestError, NoPreviewError, NoResultError, ResultGoneError, UnknownOutputError
from server.event_stream import event_stream
from server.job_table import RETRY_KEY
from server.jobs import JobRequest, JobState
from server.service import Service

LARGEST_SEQ = 2**31
PICTURE = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def job_routes(service: Service) -> APIRouter:
    """The routes of jobs."""
    router = APIRouter(tags=["jobs"])
    table, storage = service.table, service.storage

    def described(job_id: str) -> JobDescription:
        return describe(table.job(job_id), table, storage)

    @router.post(
        "/v1/jobs",
        status_code=202,
        responses={429: {"description": "The queue is full; Retry-After says for how long"}},
    )
    def submit_job(submission: JobSubmission) -> JobDescription:
        """Check a job and queue it; the same idempotency key gives the same job."""
        if submission.idempotency_key.startswith(RETRY_KEY):
            raise InvalidRequestError(f"Keys with {RETRY_KEY!r} are the server's own.", "Choose another key.")
        settings = AnimateSettings.from_dict(submission.settings)
        request = JobRequest(
            submission.capture,
            submission.video,
            submission.video_name,
            settings,
            submission.client_id,
            tuple(one.upload() for one in submission.further),
        )
        status = service.admission.submit(request, submission.idempotency_key)
        service.fleet.wake()
        return described(status.id)

    @router.get("/v1/jobs")
    def list_jobs(
        client_id: str | None = None,
        state: Annotated[list[JobState], Query()] = [],  # noqa: B006 - FastAPI copies it
        limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    ) -> JobList:
        """The newest jobs, oldest of them first; of one client or in some states only."""
        return JobList([describe(job, table, storage) for job in table.jobs(state, client_id, limit)])

    @router.get("/v1/jobs/{job_id}")
    def job_status(job_id: str) -> JobDescription:
        """A job's newest status."""
        return described(job_id)

    @router.get(
        "/v1/jobs/{job_id}/events",
        response_class=StreamingResponse,
        responses={200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}},
    )
    def job_events(job_id: str, after: Annotated[int, Query(ge=0, le=LARGEST_SEQ)] = 0) -> StreamingResponse:
        """A job's events from `after` on, as they come, with a heartbeat every five seconds; ends with the job."""
        table.status(job_id)  # an unknown job is a 404 before the stream begins
        stream = event_stream(table, service.announcements, job_id, after)
        return StreamingResponse(stream, media_type="text/event-stream")

    @router.post("/v1/jobs/{job_id}/cancel")
    def cancel_job(job_id: str) -> JobDescription:
        """Cancel exactly this job; 409 if it has ended otherwise."""
        table.cancel(job_id)
        service.fleet.wake()
        return described(job_id)

    @router.post("/v1/jobs/{job_id}/retry", status_code=202)
    def retry_job(job_id: str) -> JobDescription:
        """Queue a job that ended without success once more, as a new job; asked again, it gives that one."""
        status = service.admission.retry(job_id)
        service.fleet.wake()
        return described(status.id)

    @router.get(
        "/v1/jobs/{job_id}/preview",
        response_class=Response,
        responses={
            200: {"description": "The picture, at most 256 pixels a side", "content": PICTURE},
            304: {"description": "The client has it"},
        },
    )
    def job_preview(job_id: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """The newest frame of a running job as it looks so far; supports If-None-Match."""
        table.status(job_id)
        picture = storage.preview(job_id)
        if picture is None:
            raise NoPreviewError(f"Job {job_id} shows nothing now.", "Ask again while it finds motion.")
        etag = f'"{hashlib.sha256(picture).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if if_none_match is not None and etag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(picture, media_type="image/png", headers=headers)

    @router.get(
        "/v1/jobs/{job_id}/outputs/{name}",
        response_class=FileResponse,
        responses={
            200: {"description": "The file", "content": BINARY},
            206: {"description": "The asked-for range of it", "content": BINARY},
            304: {"description": "The client has it"},
        },
    )
    def job_output(job_id: str, name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """A file that a job has made; supports Range, If-Range and If-None-Match."""
        status = table.status(job_id)
        if name != OUTPUT_NAME:
            raise UnknownOutputError(f"Job {job_id} has no output {name!r}.", f"Its output is {OUTPUT_NAME}.")
        if status.state is not JobState.SUCCEEDED:
            hint = "Try the job again." if status.state.is_terminal else "Wait until it has succeeded."
            raise NoResultError(f"Job {job_id} is {status.state} and has no result.", hint)
        if not storage.has_result(job_id):
            raise ResultGoneError(f"The result of job {job_id} made room for others.", "Submit the job again.")
        etag = f'"{job_id}"'  # a job has one result, which never changes
        if if_none_match is not None and etag in if_none_match:
            return Response(status_code=304, headers={"ETag": etag})
        return FileResponse(
            storage.result(job_id),
            media_type="application/octet-stream",
            filename=f"{job_id}.safetensors",
            headers={"ETag": etag},
        )

    return router

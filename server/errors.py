"""What the server refuses on purpose, each with its HTTP status."""

from gvf_core.errors import GvfError


class ServerError(GvfError):
    """A refusal that the client can understand and act on.

    Attributes:
        status: HTTP status of the answer.
        headers: Further headers of the answer.
    """

    code = "server"
    status = 500

    @property
    def headers(self) -> dict[str, str]:
        """None, unless the kind of error has some."""
        return {}


class StartError(ServerError):
    """The server cannot start; for the command line, never sent over HTTP."""

    code = "start"


class UnauthorizedError(ServerError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"
    status = 401

    @property
    def headers(self) -> dict[str, str]:
        """Which kind of credentials is wanted."""
        return {"WWW-Authenticate": "Bearer"}


class ForeignRequestError(ServerError):
    """The request carries a Host or Origin that only a web page would send."""

    code = "foreign_request"
    status = 403


class InvalidRequestError(ServerError):
    """The request is not what the endpoint expects."""

    code = "invalid_request"
    status = 422


class OffsetMismatchError(ServerError):
    """A part of an upload does not begin where the part before it ended.

    Args:
        message: See `GvfError`.
        hint: See `GvfError`.
        offset: How many bytes of the upload are here.
    """

    code = "offset_mismatch"
    status = 409

    def __init__(self, message: str, hint: str = "", offset: int = 0) -> None:
        super().__init__(message, hint)
        self.offset = offset

    @property
    def headers(self) -> dict[str, str]:
        """Where to go on."""
        return {"Upload-Offset": str(self.offset)}


class UnknownBlobError(ServerError):
    """A job names an upload that is not here."""

    code = "unknown_blob"
    status = 422


class HashMismatchError(ServerError):
    """The uploaded bytes do not have the announced sha256."""

    code = "hash_mismatch"
    status = 422


class BlobTooLargeError(ServerError):
    """The upload exceeds the size limit."""

    code = "too_large"
    status = 413


class LimitError(ServerError):
    """The inputs exceed what this server takes on."""

    code = "beyond_limits"
    status = 422


class NotEnoughMemoryError(ServerError):
    """The machine has less memory than the job is expected to take."""

    code = "not_enough_memory"
    status = 507


class QueueFullError(ServerError):
    """Too many jobs wait.

    Args:
        message: See `GvfError`.
        hint: See `GvfError`.
        retry_after: Seconds until another attempt makes sense.
    """

    code = "queue_full"
    status = 429

    def __init__(self, message: str, hint: str = "", retry_after: int = 0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """When to come back."""
        return {"Retry-After": str(self.retry_after)}


class StorageError(ServerError):
    """The data folder cannot be written."""

    code = "storage"
    status = 500


class StorageFullError(ServerError):
    """The disk or the quota does not hold the upload."""

    code = "disk_full"
    status = 507


class UnknownJobError(ServerError):
    """There is no job with this id."""

    code = "unknown_job"
    status = 404


class AlreadyFinishedError(ServerError):
    """A finished job cannot be cancelled."""

    code = "already_finished"
    status = 409


class NotRetryableError(ServerError):
    """Only a job that ended without success can be tried again."""

    code = "not_retryable"
    status = 409


class NoResultError(ServerError):
    """The job has no result, or not yet."""

    code = "no_result"
    status = 409


class NoPreviewError(ServerError):
    """The job has no frame to show: not yet, not any more, or its engine shows none."""

    code = "no_preview"
    status = 404


class UnknownOutputError(ServerError):
    """A job has no output of this name."""

    code = "unknown_output"
    status = 404


class ResultGoneError(ServerError):
    """The result was there, and made room for others."""

    code = "result_gone"
    status = 410


class BusyError(ServerError):
    """The worker computes a job."""

    code = "busy"
    status = 409


class CheckingError(ServerError):
    """A video is being looked at; one at a time."""

    code = "checking"
    status = 409


class GivenUpError(ServerError):
    """Nobody waits for an answer any more, or the server ends."""

    code = "given_up"
    status = 503


class DownloadRunningError(ServerError):
    """Weights are being fetched."""

    code = "download_running"
    status = 409


class LicenceNotAcceptedError(ServerError):
    """Weights whose publisher states no licence are fetched only for who accepts that."""

    code = "licence_not_accepted"
    status = 409


class IdempotencyConflictError(ServerError):
    """An idempotency key was used again for a different job."""

    code = "idempotency_conflict"
    status = 409

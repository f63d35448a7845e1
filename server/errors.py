"""What the server refuses on purpose, each with its HTTP status."""

from gvf_core.errors import GvfError


class ServerError(GvfError):
    """A refusal that the client can understand and act on.

    Attributes:
        status: HTTP status of the answer.
    """

    code = "server"
    status = 500


class StartError(ServerError):
    """The server cannot start; for the command line, never sent over HTTP."""

    code = "start"


class UnauthorizedError(ServerError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"
    status = 401


class ForeignRequestError(ServerError):
    """The request carries a Host or Origin that only a web page would send."""

    code = "foreign_request"
    status = 403


class InvalidRequestError(ServerError):
    """The request is not what the endpoint expects."""

    code = "invalid_request"
    status = 422


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


class NoResultError(ServerError):
    """The job has no result, or not yet."""

    code = "no_result"
    status = 409


class IdempotencyConflictError(ServerError):
    """An idempotency key was used again for a different job."""

    code = "idempotency_conflict"
    status = 409

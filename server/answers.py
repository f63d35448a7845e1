"""How errors look on the wire: {"error": {"code", "message", "hint"}}, whatever went wrong."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gvf_core.errors import GvfError
from server.errors import InvalidRequestError, ServerError

LOGGER = logging.getLogger(__name__)


def error_response(error: GvfError) -> JSONResponse:
    """The answer for an error raised on purpose; what the core refuses is an unprocessable request."""
    status, headers = (error.status, error.headers) if isinstance(error, ServerError) else (422, None)
    return _error_body(status, error.code, error.message, error.hint, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of the application the one body."""

    @app.exception_handler(GvfError)
    async def refused(request: Request, error: GvfError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return error_response(InvalidRequestError(f"The request does not fit at {where}: {first['msg']}."))

    @app.exception_handler(ClientDisconnect)
    async def hung_up(request: Request, error: ClientDisconnect) -> JSONResponse:
        LOGGER.info("the client hung up during %s %s", request.method, request.url.path)
        return error_response(InvalidRequestError("The request ended before its body was complete."))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        message = f"{request.method} {request.url.path}: {error.detail}."
        return _error_body(error.status_code, code, message, "docs/protocol.md lists the endpoints.", error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # the framework logs the traceback after this answer
        message = f"The server failed with an unexpected {type(error).__name__}."
        return _error_body(500, "internal", message, "This is a defect of the server; its log has the details.")


def _error_body(
    status: int, code: str, message: str, hint: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "hint": hint}}, status, headers)

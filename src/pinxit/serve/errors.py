"""Errors as clients of the OpenAI API read them: one envelope, short, without an echo of the input."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pinxit.errors import PinxitError, UsageError
from pinxit.texts import printable, without_halves

log = logging.getLogger("pinxit.serve")
MAX_MESSAGE = 600  # characters of a message
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """An error response: HTTP status, a message of one sentence, the field (`param`), a code for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})


class PassingError(RefusedError):
    """A refusal for a reason that may pass: the same request may be accepted later."""


def envelope(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The JSON body of an error."""
    text = without_halves(printable(message))
    text = text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}..."
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


def error_type(refused: RefusedError) -> str:
    """The `type` of OpenAI's errors for a status."""
    return TYPES.get(refused.status, "invalid_request_error" if refused.status < 500 else "server_error")


def key_reused() -> RefusedError:
    """409: the idempotency key was used for another request."""
    return RefusedError(409, "this Idempotency-Key was used for another request.", code="idempotency_key_reused",
                        headers={"x-should-retry": "false"})  # fmt: skip


def disconnected() -> RefusedError:
    """499: nobody reads the response."""
    return RefusedError(499, "the client has disconnected.")


def unavailable(reason: str) -> RefusedError:
    """503 with a time to retry after: this process is ending, and another one may take its place."""
    return RefusedError(503, f"{reason}: try again in 2 s.", headers={"retry-after-ms": "2000", "retry-after": "2"})


def error_response(refused: RefusedError) -> JSONResponse:
    """The response; clients are told not to retry where that cannot help."""
    headers = {} if refused.status in (408, 429, 503) else {"x-should-retry": "false"}
    content = envelope(refused.message, error_type(refused), refused.param, refused.code)
    return JSONResponse(content, refused.status, headers | refused.headers)


def as_refused(error: BaseException) -> RefusedError:
    """Any exception as an error response; unexpected ones are logged and become a 500 without details."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error.__cause__, RefusedError):  # Starlette wraps what was raised while it read the body
        return error.__cause__
    if isinstance(error, ClientDisconnect) or isinstance(error.__cause__, ClientDisconnect):  # in the middle of it
        return disconnected()
    if isinstance(error, UnicodeEncodeError):  # JSON may hold lone surrogates
        return RefusedError(400, "the request holds text that is not UTF-8.", code="invalid_value")
    if isinstance(error, UsageError):
        return RefusedError(400, str(error), code="invalid_value")
    if isinstance(error, HTTPException):
        return RefusedError(error.status_code, str(error.detail), headers=error.headers)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    log.error("a request or job failed: %s", type(error).__name__, exc_info=not isinstance(error, PinxitError))
    return RefusedError(500, "something went wrong here; the server's log says what.", code="internal_error")


def _invalid(error: RequestValidationError) -> RefusedError:
    first: Mapping[str, Any] = next(iter(error.errors()), {})
    where = [str(part) for part in first.get("loc", ())[1:]]  # after "body", "query" and the like
    param = printable(".".join(where))[:80] or None
    if first.get("type") == "json_invalid":
        return RefusedError(400, "the body is not JSON.", code="invalid_json")
    reason = str(first.get("msg", "is not as it must be")).removeprefix("Value error, ")
    return RefusedError(400, f"{param}: {reason}." if param else f"{reason}.", param, "invalid_value")


def install_handlers(app: FastAPI) -> None:
    """Let every exception of the application be answered so."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return error_response(as_refused(error))

    for kind in (RefusedError, PinxitError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)

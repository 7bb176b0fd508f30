"""Errors as clients of the OpenAI API read them: one envelope, short, without an echo of what was sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pinxit.errors import PinxitError, UsageError
from pinxit.texts import printable, without_halves

log = logging.getLogger("pinxit.serve")
LONGEST = 600  # characters of a message
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """A request that is answered by an error: `status`, one sentence, the field, a code for programs."""

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


def body(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The envelope."""
    text = without_halves(printable(message))
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


def kind_of(refused: RefusedError) -> str:
    """The type that clients read."""
    return KINDS.get(refused.status, "invalid_request_error" if refused.status < 500 else "server_error")


def reused() -> RefusedError:
    """A key that came with another request before."""
    return RefusedError(409, "this Idempotency-Key came with another request.", code="idempotency_key_reused",
                        headers={"x-should-retry": "false"})  # fmt: skip


def ended(said: str) -> RefusedError:
    """This process ends; where there is another one in a moment, it takes the request."""
    return RefusedError(503, f"{said}: try again in 2 s.", headers={"retry-after-ms": "2000", "retry-after": "2"})


def answer(refused: RefusedError) -> JSONResponse:
    """The response; a client does not try again where that cannot help."""
    headers = {} if refused.status in (408, 429, 503) else {"x-should-retry": "false"}
    content = body(refused.message, kind_of(refused), refused.param, refused.code)
    return JSONResponse(content, refused.status, headers | refused.headers)


def told(error: BaseException) -> RefusedError:
    """Any error as one that may be told; what is not meant for people is logged, and told as ours."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error.__cause__, RefusedError):  # what reads a body hides what stopped it
        return error.__cause__
    if isinstance(error, UnicodeEncodeError):  # JSON may hold halves of characters
        return RefusedError(400, "the request holds text that is not UTF-8.", code="invalid_value")
    if isinstance(error, UsageError):
        return RefusedError(400, str(error), code="invalid_value")
    if isinstance(error, HTTPException):
        return RefusedError(error.status_code, str(error.detail), headers=error.headers)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    log.error("a request failed by %s", type(error).__name__, exc_info=not isinstance(error, PinxitError))
    return RefusedError(500, "something went wrong here; the server's log says what.", code="internal_error")


def _invalid(error: RequestValidationError) -> RefusedError:
    first: Mapping[str, Any] = next(iter(error.errors()), {})
    where = [str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path", "header")]
    param = printable(".".join(where))[:80] or None
    if first.get("type") == "json_invalid":
        return RefusedError(400, "the body is not JSON.", code="invalid_json")
    said = str(first.get("msg", "is not as it must be")).removeprefix("Value error, ")
    return RefusedError(400, f"{param}: {said}." if param else f"{said}.", param, "invalid_value")


def install(app: FastAPI) -> None:
    """Answer every error of the app's so."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(told(error))

    for kind in (RefusedError, PinxitError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)

"""What a request carries besides its body: a timeout, an idempotency key, a connection that may close."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from pinxit.serve.errors import RefusedError, disconnected

if TYPE_CHECKING:
    from fastapi import Request

WEIGHTS = {"interactive": 8.0, "batch": 1.0}


def client_timeout(request: Request) -> float:
    """Seconds that the client will wait: Python's read timeout, or node's timeout; inf if it sends neither."""
    for name in ("x-stainless-read-timeout", "x-stainless-timeout"):
        try:
            seconds = float(request.headers.get(name, ""))
        except ValueError:
            continue
        if seconds > 0:
            return seconds
    return math.inf


def idempotency_of(request: Request, body: Any, seeded: bool, *more: bytes) -> tuple[str, str]:
    """(key, digest): requests with the same key share a job if their digests are equal; with key "" they never do.

    The clients send no Idempotency-Key when they retry, so equal bodies with a seed count as the same request.
    """
    digest, name, key = request_digest(body, *more), request.state.caller.name, idempotency_key(request)
    if key:
        return f"{name}\n{request.url.path}\nkey {key}", digest
    return (f"{name}\n{request.url.path}\nbody {digest}", digest) if seeded else ("", digest)


def request_digest(body: Any, *more: bytes) -> str:
    """A hash of a request's content."""
    about = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode(errors="backslashreplace"))
    for data in more:
        about.update(hashlib.sha256(data).digest())
    return about.hexdigest()


def idempotency_key(request: Request) -> str:
    """The Idempotency-Key header, or "". Raises RefusedError (400) for one that is too long."""
    key = request.headers.get("idempotency-key", "")
    if len(key) > 255:
        raise RefusedError(400, "Idempotency-Key: at most 255 characters.", code="invalid_value")
    return key


async def check_connected(request: Request) -> None:
    """Raise RefusedError (499) if the client has disconnected; use it after the body has been read."""
    if await request.is_disconnected():
        raise disconnected()


@asynccontextmanager
async def disconnect_watcher(request: Request) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends when the client disconnects; use it after the body has been read."""

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(wait_for_disconnect())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task

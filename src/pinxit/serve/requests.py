"""What a request brings besides its body: a deadline, an idempotency key, a client that may leave."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from pinxit.serve.errors import RefusedError

if TYPE_CHECKING:
    from fastapi import Request

WEIGHTS = {"interactive": 8.0, "batch": 1.0}


def patience(request: Request) -> float:
    """Seconds that the client waits: the Python client's read timeout, node's whole timeout; inf where it says none."""
    for name in ("x-stainless-read-timeout", "x-stainless-timeout"):
        try:
            seconds = float(request.headers.get(name, ""))
        except ValueError:
            continue
        if seconds > 0:
            return seconds
    return math.inf


def sameness(request: Request, body: Any, seeded: bool, *more: bytes) -> tuple[str, str]:
    """What makes a request the same as another, and what it is about; "" where every one is its own.

    The clients send no key when they try again, so that an equal body with a seed counts as the same request.
    """
    digest, name, key = digest_of(body, *more), request.state.caller.name, key_of(request)
    if key:
        return f"{name}\n{request.url.path}\nkey {key}", digest
    return (f"{name}\n{request.url.path}\nbody {digest}", digest) if seeded else ("", digest)


def digest_of(body: Any, *more: bytes) -> str:
    """What a request is about: equal ones have equal ones."""
    about = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode(errors="backslashreplace"))
    for data in more:
        about.update(hashlib.sha256(data).digest())
    return about.hexdigest()


def key_of(request: Request) -> str:
    """Its Idempotency-Key; "" where it has none. Raises RefusedError for one that is too long."""
    key = request.headers.get("idempotency-key", "")
    if len(key) > 255:
        raise RefusedError(400, "Idempotency-Key: at most 255 characters.", code="invalid_value")
    return key


@asynccontextmanager
async def unless_gone(request: Request) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends when the client has left; for after the body has been read."""

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task = asyncio.ensure_future(leaves())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task

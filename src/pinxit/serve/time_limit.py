"""The end of a shutdown's time: whatever still works on a response ends it by an error, before it is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pinxit.serve.errors import RefusedError, unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TimeLimit:
    """A deadline of many blocks of code, unknown until `end` is called."""

    def __init__(self) -> None:
        self.over = False
        self.blocks = set[asyncio.Timeout]()

    @asynccontextmanager
    async def within(self) -> AsyncIterator[asyncio.Timeout]:
        """Once the time is up, the block raises RefusedError (503) where it waits. A generator must not yield in it."""
        block = asyncio.timeout(0 if self.over else None)
        try:
            async with block:
                self.blocks.add(block)
                yield block
        except TimeoutError:
            if not block.expired():
                raise
            raise shut_down() from None
        finally:
            self.blocks.discard(block)

    def release(self, block: asyncio.Timeout) -> None:
        """Let a block take longer."""
        self.blocks.discard(block)
        if not block.expired():
            block.reschedule(None)

    def end(self) -> None:
        """The time is up."""
        self.over = True
        for block in self.blocks:
            if not block.expired():
                block.reschedule(0)


class TimeLimitMiddleware:
    """Plain ASGI: a request has the limit until its response begins, which then cannot become an error any more."""

    def __init__(self, app: ASGIApp, limit: TimeLimit) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. Raises RefusedError (503) if the time is up before the response begins."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        async with self.limit.within() as block:

            async def send_in_time(message: Message) -> None:
                self.limit.release(block)
                await send(message)

            await self.app(scope, receive, send_in_time)


def shut_down() -> RefusedError:
    """503: the process ended first."""
    return unavailable("this server shut down before the request was done")

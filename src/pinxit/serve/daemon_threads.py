"""Blocking calls that may hang, such as a user's function or a network request, in threads that cannot delay exit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """Runs at most `most` calls at a time, each in a thread of its own.

    The threads of a `ThreadPoolExecutor` are joined when the interpreter exits: one that hangs would keep the process.
    """

    def __init__(self, name: str, most: int) -> None:
        self.name, self.free = name, asyncio.Semaphore(most)
        self.waits: dict[asyncio.Timeout, float] = {}  # of calls without a place: seconds without any progress

    async def run(self, seconds: float, function: Callable[..., T], *arguments: Any) -> T:
        """The function's result or exception; RuntimeError in place of an exception that would end the event loop.

        Raises TimeoutError if the call takes longer than `seconds`. They begin when it has a place; it waits for one as
        long as others return, and gives up after `seconds` in which none does: all that have one may hang forever.
        If this ends before the call, the call goes on, and keeps its place until it returns.
        """
        await self._take_place(seconds)
        return await asyncio.wait_for(self._start(function, *arguments), seconds)

    async def _take_place(self, seconds: float) -> None:
        async with asyncio.timeout(seconds) as wait:
            self.waits[wait] = seconds
            try:
                await self.free.acquire()
            finally:
                del self.waits[wait]

    def _free_place(self) -> None:
        self.free.release()
        now = asyncio.get_running_loop().time()
        for wait, seconds in self.waits.items():
            if not wait.expired():
                wait.reschedule(now + seconds)

    def _start(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def finish(result: Any, error: Exception | None) -> None:
            self._free_place()
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            result: T | None = None
            error: Exception | None = None
            try:
                result = function(*arguments)
            except BaseException as raised:
                error = RuntimeError(type(raised).__name__)
                if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
                    error = raised
            with suppress(RuntimeError):  # the event loop has been closed in the meantime
                loop.call_soon_threadsafe(finish, result, error)

        try:
            threading.Thread(target=work, name=self.name, daemon=True).start()
        except RuntimeError:  # the system has no thread to give: nothing runs that would free the place
            self._free_place()
            raise
        return future

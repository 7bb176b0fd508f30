"""What pages are told of their jobs: one stream a page, in which a newer look takes the place of an older one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

BEAT = 15.0  # seconds of silence after which a line says that we are still here


class Feed:
    """What one page has not been told yet."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.pending: dict[Any, dict[str, Any]] = {}
        self.ready, self.closed = asyncio.Event(), False

    def put(self, key: Any, message: dict[str, Any]) -> None:
        """Tell it."""
        self.pending.pop(key, None)
        self.pending[key] = message
        self.ready.set()

    async def messages(self) -> AsyncIterator[dict[str, Any] | None]:
        """All of them, until the server ends; None when nothing was for a while."""
        while not self.closed:
            try:
                await asyncio.wait_for(self.ready.wait(), BEAT)
            except TimeoutError:
                yield None
                continue
            found, self.pending = list(self.pending.values()), {}
            self.ready.clear()
            for message in found:
                yield message


class Feeds:
    """The pages that listen."""

    def __init__(self) -> None:
        self.open: set[Feed] = set()

    def any(self, owner: str) -> bool:
        """Whether anybody watches somebody's jobs."""
        return any(feed.owner == owner for feed in self.open)

    def tell(self, owner: str, job: str, kind: str, **about: Any) -> None:
        """A job was queued, has ended, or has come so far."""
        self._put(owner, (job, kind), {"job": job, "kind": kind} | about)

    def tell_look(self, owner: str, job: str, about: dict[str, Any], data: bytes) -> None:
        """How a candidate looks now."""
        message = {"job": job, "kind": "look", "image": "data:image/webp;base64," + base64.b64encode(data).decode()}
        self._put(owner, (job, "look", about["candidate"]), message | about)

    def close(self) -> None:
        """End all streams."""
        for feed in self.open:
            feed.closed = True
            feed.ready.set()

    @contextmanager
    def listening(self, owner: str) -> Iterator[Feed]:
        """A page listens."""
        feed = Feed(owner)
        self.open.add(feed)
        try:
            yield feed
        finally:
            self.open.discard(feed)

    def _put(self, owner: str, key: Any, message: dict[str, Any]) -> None:
        for feed in self.open:
            if feed.owner == owner:
                feed.put(key, message)

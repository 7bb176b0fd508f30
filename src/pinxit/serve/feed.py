"""Streams of job events for pages, one a page; a newer preview replaces an unread older one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

HEARTBEAT_SECONDS = 15.0  # without messages, after which a comment line keeps the connection alive


class Feed:
    """A queue of the messages that one page has not read yet."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.pending: dict[Any, dict[str, Any]] = {}
        self.ready, self.closed = asyncio.Event(), False

    def put(self, key: Any, message: dict[str, Any]) -> None:
        """Add a message; it replaces an unread one of the same key."""
        self.pending.pop(key, None)
        self.pending[key] = message
        self.ready.set()

    def forget_looks(self, job: str) -> None:
        """Drop a job's unread previews: a page that does not read would hold those of all jobs in memory."""
        self.pending = {key: one for key, one in self.pending.items() if key[:2] != (job, "look")}

    async def messages(self) -> AsyncIterator[dict[str, Any] | None]:
        """All messages, until the server shuts down; None after every HEARTBEAT_SECONDS without any."""
        while not self.closed:
            try:
                await asyncio.wait_for(self.ready.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield None
                continue
            found, self.pending = list(self.pending.values()), {}
            self.ready.clear()
            for message in found:
                yield message


class Feeds:
    """The feeds of all pages that are open."""

    def __init__(self) -> None:
        self.open: set[Feed] = set()
        self.closed = False

    def has_listeners(self, owner: str) -> bool:
        """Whether any page shows this owner's jobs."""
        return any(feed.owner == owner for feed in self.open)

    def publish(self, owner: str, job: str, kind: str, **fields: Any) -> None:
        """Send an event of a job: it was queued, made progress, or ended."""
        self._put(owner, (job, kind), {"job": job, "kind": kind} | fields)

    def publish_preview(self, owner: str, job: str, fields: dict[str, Any], data: bytes) -> None:
        """Send a preview of a candidate, or the finished candidate."""
        message = {"job": job, "kind": "look", "image": "data:image/webp;base64," + base64.b64encode(data).decode()}
        self._put(owner, (job, "look", fields["candidate"]), message | fields)

    def close(self) -> None:
        """End all streams, and those that are opened later."""
        self.closed = True
        for feed in self.open:
            feed.closed = True
            feed.ready.set()

    @contextmanager
    def listening(self, owner: str) -> Iterator[Feed]:
        """A feed for as long as a page is connected."""
        feed = Feed(owner)
        feed.closed = self.closed
        self.open.add(feed)
        try:
            yield feed
        finally:
            self.open.discard(feed)

    def _put(self, owner: str, key: Any, message: dict[str, Any]) -> None:
        for feed in self.open:
            if feed.owner == owner:
                if message["kind"] == "ended":
                    feed.forget_looks(message["job"])
                feed.put(key, message)

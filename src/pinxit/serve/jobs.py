"""Jobs of the page and of /api: written down before they are acknowledged, painted whether or not anybody watches."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.errors import PinxitError
from pinxit.files import write_bytes
from pinxit.serve import store as stores
from pinxit.serve.catalog import CLIP, Order
from pinxit.serve.encoding import encoded, resampled
from pinxit.serve.errors import RefusedError, told
from pinxit.serve.feed import Feeds
from pinxit.serve.hub import ENDS, Ticket
from pinxit.serve.job_plan import settled_plan
from pinxit.serve.plan import Plan
from pinxit.serve.requests import WEIGHTS
from pinxit.serve.store import Kept, Record, Store

if TYPE_CHECKING:
    from pinxit.pipelines.work import Event
    from pinxit.serve.parts import Parts
    from pinxit.types import Ranked

log = logging.getLogger("pinxit.serve")
PREVIEW_SECONDS = 0.6
BEAT = 0.5  # seconds between two tellings of how far a job has come


class Live:
    """A job that is not finished."""

    def __init__(self, record: Record, plan: Plan) -> None:
        self.record, self.plan = record, plan
        self.ticket: Ticket | None = None
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False
        self.looks: dict[int, dict[str, Any]] = {}  # the newest that was told of each candidate


class Jobs:
    """All of them; `live` by id."""

    def __init__(self, here: Parts, store: Store) -> None:
        self.here, self.store, self.feeds = here, store, Feeds()
        self.live: dict[str, Live] = {}
        self.closing = False

    async def submit(self, requests: list[dict[str, Any]], owner: str, same: str | None = None) -> list[Record]:
        """Write jobs down and begin them; those of an earlier equal request where `same` says so.

        Raises RefusedError where there is no room, PinxitError for what cannot be painted: nothing is written then.
        """
        self.here.check_open()
        plans = [await settled_plan(self.here, self.store, request) for request in requests]
        for plan, request in zip(plans, requests, strict=True):
            self.here.admission.admit(self._order(plan, owner, request))
        found = []
        for number, (plan, request) in enumerate(zip(plans, requests, strict=True)):
            record = Record(secrets.token_hex(16), owner, time.time(), stores.QUEUED, request)
            kept = await self.store.do(stores.add(record, same and f"{same}/{number}"))
            found.append(kept)
            if kept is record:
                self._begin(record, plan)
        return found

    async def resume(self) -> None:
        """Go on with what an earlier process left, from its start: the same seeds, the same pictures."""
        known = await self.store.do(stores.known_files)
        await asyncio.to_thread(self._remove_strays, known)
        for record in await self.store.do(stores.unfinished):
            if record.tries >= self.here.settings.most_tries:
                error = f"the server ended {record.tries} times while this was painted; it is not tried again."
                await self.store.do(stores.finish(record.id, stores.FAILED, error=error))
                continue
            try:
                plan = await settled_plan(self.here, self.store, record.request)
            except (PinxitError, RefusedError) as error:
                await self.store.do(stores.finish(record.id, stores.FAILED, error=str(error)))
            else:
                self._begin(record, plan)

    def _remove_strays(self, known: set[str]) -> None:
        """What was written for jobs that were never acknowledged, never told done, or are deleted."""
        for path in self.store.folder.glob("*.png"):
            if path.stem not in known:
                path.unlink(missing_ok=True)

    async def cancel(self, name: str) -> None:
        """Let go of a live job; returns when that is written."""
        live = self.live[name]
        live.cancelled = True
        await self.store.do(stores.finish(name, stores.CANCELLED))
        if live.ticket is not None:
            self.here.hub.cancel(live.ticket)
        await self._ended(live)

    def hasten(self, name: str) -> None:
        """To the front of its client's."""
        live = self.live[name]
        if live.ticket is not None:
            self.here.hub.runner.engine.hasten(live.ticket.job)

    def watched(self) -> None:
        """Somebody came or left: looks cost time, and are taken only for those who watch."""
        for live in self.live.values():
            if live.ticket is not None:
                live.ticket.job.previews = self._previews(live.record.owner)

    async def close(self) -> None:
        """The process ends: what is under way stays queued."""
        self.closing = True
        self.feeds.close()
        tasks = [live.task for live in self.live.values() if live.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Exception):
            await self.store.do(stores.rested)
        await asyncio.to_thread(self.store.close)

    def standing(self, live: Live) -> dict[str, Any]:
        """How far a live job has come, how many of its owner's come before it, and how long it will take."""
        hub, ticket = self.here.hub, live.ticket
        share = hub.share(ticket) if ticket is not None else 0.0
        mine = [one for one in self.live.values() if one.record.owner == live.record.owner and one.ticket is not None]
        before = [one for one in mine if one is not live and _number(one) < _number(live)]
        left = sum(one.ticket.cost * (1 - hub.share(one.ticket)) for one in [*before, live] if one.ticket is not None)
        return {"share": round(share, 4), "ahead": len(before), "seconds_left": round(left, 1)}

    def _begin(self, record: Record, plan: Plan) -> None:
        live = self.live[record.id] = Live(record, plan)
        self.feeds.tell(record.owner, record.id, "queued")
        live.task = asyncio.ensure_future(self._run(live))

    def _order(self, plan: Plan, owner: str, request: dict[str, Any]) -> Order:
        weight = WEIGHTS[request.get("priority", "interactive")]
        order = self.here.catalog.order(plan.model, plan.asked, plan.side, client=f"jobs:{owner}", weight=weight)
        order.previews, order.shows_drawn = self._previews(owner), True
        return order

    def _previews(self, owner: str) -> float:
        return PREVIEW_SECONDS if self.feeds.any(owner) else float("inf")

    async def _run(self, live: Live) -> None:
        record, plan = live.record, live.plan
        try:
            if not await self.store.do(stores.begun(record.id)) or live.cancelled:
                return
            order = self._order(plan, record.owner, record.request)
            cost = self.here.admission.costs.foreseen(order)
            live.ticket = self.here.hub.submit(order, plan.model, cost=cost, detached=True)
            event = await self._follow(live, live.ticket)
            if event.kind == "done":
                await self._keep(live, event.data)
            elif not live.cancelled and not self.closing:
                reason = event.data if isinstance(event.data, Exception) else RefusedError(503, "it was cancelled.")
                await self.store.do(stores.finish(record.id, stores.FAILED, error=told(reason).message))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.error("a job failed by %s", type(error).__name__, exc_info=True)
            await self.store.do(stores.finish(record.id, stores.FAILED, error=told(error).message))
        if not self.closing:
            await self._ended(live)

    async def _follow(self, live: Live, ticket: Ticket) -> Event:
        owner, name = live.record.owner, live.record.id
        with self.here.hub.listening(ticket) as listener:
            async for event in ticket.events(listener, BEAT):
                if event is not None and event.kind in ENDS:
                    return event
                if not self.feeds.any(owner):
                    continue
                if event is not None:
                    await self._show(live, event)
                self.feeds.tell(owner, name, "progress", **self.standing(live))
        raise AssertionError("a job ends")

    async def _show(self, live: Live, event: Event) -> None:
        place, value = event.data
        candidate = getattr(value, "candidate", place[-1])
        call = partial(encoded, resampled(value.picture, value.picture.shape[0]), {}, "webp", 80)
        data = await asyncio.get_running_loop().run_in_executor(self.here.encoders, call)
        about = {"candidate": candidate, "finished": event.kind == "drawn"}
        live.looks[candidate] = about
        self.feeds.tell_look(live.record.owner, live.record.id, about, data)

    async def _keep(self, live: Live, ranked: list[Ranked]) -> None:
        plan, loop = live.plan, asyncio.get_running_loop()
        seen = await self._vectors(live, ranked)
        kept = [
            Kept(secrets.token_hex(16), place, one.candidate, one.seed, one.score, vector=vector)
            for place, (one, vector) in enumerate(zip(ranked, seen, strict=True))
        ]

        def write() -> None:
            for one, picture in zip(kept, ranked, strict=True):
                write_bytes(self.store.file(one.id), plan.file(picture))

        await loop.run_in_executor(self.here.encoders, write)
        await asyncio.to_thread(stores.sync_folder, self.store.folder)
        if not await self.store.do(stores.finish(live.record.id, stores.DONE, kept)):  # cancelled meanwhile
            for one in kept:
                self.store.file(one.id).unlink(missing_ok=True)

    async def _vectors(self, live: Live, ranked: list[Ranked]) -> list[bytes | None]:
        if self.here.catalog.clip is None:
            return [None] * len(ranked)
        starts = [([f"{CLIP}/pictures"], one.picture) for one in ranked]
        event = await self.here.hub.outcome(self.here.hub.submit(Order(starts, client=f"jobs:{live.record.owner}")))
        if event.kind != "done":
            return [None] * len(ranked)
        return [np.asarray(row, "<f4").tobytes() for row in event.data]

    async def _ended(self, live: Live) -> None:
        if self.live.pop(live.record.id, None) is not None:
            self.feeds.tell(live.record.owner, live.record.id, "ended")


def _number(live: Live) -> int:
    return live.ticket.job.number if live.ticket is not None else 2**62

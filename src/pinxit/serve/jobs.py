"""Jobs of the page and of /api: written down before they are acknowledged, painted whether or not anybody watches."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from pinxit.errors import PinxitError
from pinxit.serve import records
from pinxit.serve.catalog import Order
from pinxit.serve.encoding import encoded, resampled
from pinxit.serve.errors import RefusedError, reused, told
from pinxit.serve.feed import Feeds
from pinxit.serve.hub import ENDS, Ticket
from pinxit.serve.job_plan import NAME, settled_plan
from pinxit.serve.keeping import keep
from pinxit.serve.live import Live, client_of, number_of, weight_of
from pinxit.serve.plan import Plan
from pinxit.serve.records import Record
from pinxit.serve.store import Store

if TYPE_CHECKING:
    from pinxit.pipelines.work import Event
    from pinxit.serve.parts import Parts

log = logging.getLogger("pinxit.serve")
PREVIEW_SECONDS = 0.6
RETRY = 1.0  # seconds before the store is asked again; twice as long each time
BEAT = 0.5  # seconds between two tellings of how far a job has come


class Jobs:
    """All of them; `live` by id."""

    def __init__(self, here: Parts, store: Store) -> None:
        self.here, self.store, self.feeds = here, store, Feeds()
        self.live: dict[str, Live] = {}
        self.closing = False

    async def known(self, owner: str, same: str, digest: str) -> list[Record]:
        """The jobs of an earlier request with that key. Raises RefusedError where that was about something else."""
        return _alike(await self.store.do(records.known(owner, same)), digest) if same else []

    async def submit(self, requests: list[dict[str, Any]], owner: str, same: str = "") -> list[Record]:
        """Write jobs down and begin them, all or none; those of an earlier equal request where `same` says so.

        Raises RefusedError where there is no room, PinxitError for what cannot be painted: nothing is written then, and
        what was sent with the request is not kept.
        """
        made = [Record(secrets.token_hex(16), owner, time.time(), records.QUEUED, request) for request in requests]
        try:
            found = await self._written(made, same)
        except Exception:
            await self._remove_unused(requests)
            raise
        if found == made:
            return found
        await self._remove_unused(requests)
        return _alike(found, requests[0].get("digest", ""))

    async def _written(self, made: list[Record], same: str) -> list[Record]:
        """Begin new jobs once they are written down, or tell the earlier ones of the same key."""
        self.here.check_open()
        plans = [await settled_plan(self.here, self.store, record.request) for record in made]
        orders = [self._order(plan, record) for plan, record in zip(plans, made, strict=True)]
        self.here.admission.admit(*orders)
        self.here.admission.promise(*orders)
        try:
            found = await self.store.do(records.add(made, same))
        except BaseException:
            self.here.admission.keep(*orders)
            raise
        if found != made:
            self.here.admission.keep(*orders)
            return found
        for record, plan, order in zip(made, plans, orders, strict=True):
            self._begin(Live(record, plan, order))
        return found

    async def _remove_unused(self, requests: list[dict[str, Any]]) -> None:
        """What was sent with requests that became no jobs goes now; where that cannot be asked, with the next start."""
        with suppress(PinxitError):
            names = set[str]().union(*map(records.sent, requests))
            await asyncio.to_thread(self.store.remove, await self.store.do(records.unused(names)))

    async def resume(self) -> None:
        """Go on with what an earlier process left, from its start: the same seeds, the same pictures."""
        known = await self.store.do(records.known_files)
        await asyncio.to_thread(self._remove_strays, known)
        for record in await self.store.do(records.unfinished):
            if record.tries >= self.here.settings.most_tries:
                error = f"the server ended {record.tries} times while this was painted; it is not tried again."
                await self.store.do(records.finish(record.id, records.FAILED, error=error))
                continue
            try:
                plan = await settled_plan(self.here, self.store, record.request)
            except (PinxitError, RefusedError) as error:
                await self.store.do(records.finish(record.id, records.FAILED, error=str(error)))
            else:
                self._begin(Live(record, plan, self._order(plan, record)))

    def _remove_strays(self, known: set[str]) -> None:
        """What was written for jobs that were never acknowledged, never told done, or are deleted.

        Files under other names than those given here are somebody's: --data may name any folder.
        """
        for path in self.store.folder.glob("*.png"):
            if NAME.fullmatch(path.stem) and path.stem not in known:
                path.unlink(missing_ok=True)

    async def cancel(self, name: str) -> None:
        """Let go of a live job; returns when that is written."""
        live = self.live[name]
        live.cancelled = True
        try:
            await self.store.do(records.finish(name, records.CANCELLED))
        except PinxitError:  # then it is not, and goes on
            live.cancelled = False
            raise
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

    @property
    def leaving(self) -> bool:
        """Whether this process ends, and leaves what is under way to the next one."""
        return self.closing or self.here.hub.runner.error is not None

    async def close(self) -> None:
        """The process ends: what is under way stays queued."""
        self.closing = True
        self.feeds.close()
        tasks = [live.task for live in self.live.values() if live.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Exception):
            await self.store.do(records.rested)
        await asyncio.to_thread(self.store.close)

    def standing(self, live: Live) -> dict[str, Any]:
        """How far a live job has come, how many of its owner's come before it, and how long it will take."""
        hub, ticket = self.here.hub, live.ticket
        share = hub.share(ticket) if ticket is not None else 0.0
        mine = [one for one in self.live.values() if one.record.owner == live.record.owner and one.ticket is not None]
        before = [one for one in mine if one is not live and number_of(one) < number_of(live)]
        left = sum(one.ticket.cost * (1 - hub.share(one.ticket)) for one in [*before, live] if one.ticket is not None)
        return {"share": round(share, 4), "ahead": len(before), "seconds_left": round(left, 1)}

    def _begin(self, live: Live) -> None:
        self.live[live.record.id] = live
        self.feeds.tell(live.record.owner, live.record.id, "queued")
        live.task = asyncio.ensure_future(self._run(live))

    def _order(self, plan: Plan, record: Record) -> Order:
        how = {"client": client_of(record), "weight": weight_of(record.request)}
        order = self.here.catalog.order(plan.model, plan.asked, plan.side, **how)
        order.previews, order.shows_drawn = self._previews(record.owner), True
        return order

    def _previews(self, owner: str) -> float:
        return PREVIEW_SECONDS if self.feeds.any(owner) else float("inf")

    async def _run(self, live: Live) -> None:
        try:
            begun = await self.store.do(records.begun(live.record.id))
            if not begun or live.cancelled:
                return
            live.order.previews = self._previews(live.record.owner)  # who watches may have changed meanwhile
            cost = self.here.admission.costs.foreseen(live.order)
            live.ticket = self.here.hub.submit(live.order, live.plan.model, cost=cost, detached=True)
            self.here.admission.keep(live.order)
            event = await self._follow(live, live.ticket)
            if event.kind == "done":
                await keep(self.here, self.store, live, event.data)
            elif not live.cancelled:
                reason = event.data if isinstance(event.data, Exception) else RefusedError(503, "it was cancelled.")
                await self._fail(live, told(reason))
        except Exception as error:
            log.error("a job failed by %s", type(error).__name__, exc_info=True)
            await self._fail(live, told(error))
        finally:
            self.here.admission.keep(live.order)
        if not self.leaving:
            await self._ended(live)

    async def _fail(self, live: Live, reason: RefusedError) -> None:
        """Write it down, however long the disk is full: nobody is told what is not kept. A restart tries again."""
        wait = RETRY
        while not self.leaving and not live.cancelled:
            try:
                await self.store.do(records.finish(live.record.id, records.FAILED, error=reason.message))
            except PinxitError as error:
                log.error("that a job failed cannot be kept yet: %s", error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 60.0)
            else:
                return

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
        if not await self.here.policy.shows(value.picture):
            return
        candidate = getattr(value, "candidate", place[-1])
        call = partial(encoded, resampled(value.picture, value.picture.shape[0]), {}, "webp", 80)
        data = await asyncio.get_running_loop().run_in_executor(self.here.encoders, call)
        about = {"candidate": candidate, "finished": event.kind == "drawn"}
        live.looks[candidate] = about
        self.feeds.tell_look(live.record.owner, live.record.id, about, data)

    async def _ended(self, live: Live) -> None:
        if self.live.pop(live.record.id, None) is not None:
            self.feeds.tell(live.record.owner, live.record.id, "ended")


def _alike(found: list[Record], digest: str) -> list[Record]:
    """What was found under a key. Raises RefusedError where it came with another request."""
    if any(one.request.get("digest", digest) != digest for one in found):
        raise reused()
    return found

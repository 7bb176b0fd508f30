"""Durable jobs of the page and of /api: stored before they are acknowledged, painted even if nobody listens."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from pinxit.errors import PinxitError
from pinxit.pictures import encode_picture
from pinxit.serve import records
from pinxit.serve.catalog import ServerJob
from pinxit.serve.dispatcher import TERMINAL, JobHandle
from pinxit.serve.errors import RefusedError, as_refused, key_reused
from pinxit.serve.feed import Feeds
from pinxit.serve.job_requests import plan_of_request, plan_when_checked
from pinxit.serve.job_results import store_results
from pinxit.serve.live_job import LiveJob, arrival_number, client_of, weight_of
from pinxit.serve.paint_plan import PaintPlan
from pinxit.serve.records import Record
from pinxit.serve.store import Store

if TYPE_CHECKING:
    from pinxit.pipelines.work import Event
    from pinxit.serve.services import Services

log = logging.getLogger("pinxit.serve")
PREVIEW_SECONDS = 0.6
RETRY_SECONDS = 1.0  # before a write to the store is tried again; doubled each time
PROGRESS_SECONDS = 0.5  # between two progress events of a job


class Jobs:
    """All jobs; `live` holds those that have not ended, by id."""

    def __init__(self, services: Services, store: Store) -> None:
        self.services, self.store, self.feeds = services, store, Feeds()
        self.live: dict[str, LiveJob] = {}
        self.closing = False
        self._latest, self._checking, self._last_try = 0.0, asyncio.Lock(), asyncio.Lock()

    async def earlier(self, owner: str, key: str, digest: str) -> list[Record]:
        """The jobs of an earlier request with this key. Raises RefusedError (409) if its content differs."""
        return _check_same_request(await self.store.do(records.jobs_of_key(owner, key)), digest) if key else []

    async def submit(self, requests: list[dict[str, Any]], owner: str, key: str = "") -> list[Record]:
        """Store jobs and start them, all or none; or return those of an earlier request with this idempotency key.

        Raises RefusedError if admission control refuses, PinxitError for what cannot be painted; nothing is stored
        then, and uploads of the request are removed.
        """
        new = [Record(secrets.token_hex(16), owner, self._moment(), records.QUEUED, request) for request in requests]
        try:
            found = await self._store_and_start(new, key)
        except Exception:
            await self._remove_unused(requests)
            raise
        if found == new:
            return found
        await self._remove_unused(requests)
        return _check_same_request(found, requests[0].get("digest", ""))

    def _moment(self) -> float:
        """The time, but never the same twice: lists are paged by it, and would skip jobs of the same moment."""
        self._latest = max(time.time(), self._latest + 1e-6)
        return self._latest

    async def _store_and_start(self, new: list[Record], key: str) -> list[Record]:
        """Store and start new jobs, or return the earlier ones of the same key."""
        self.services.check_open()
        pictures = sum(len(records.input_pictures(record.request)) for record in new)
        async with self.services.uploads.places.of(pictures):
            plans = [await plan_of_request(self.services, self.store, record.request) for record in new]
            jobs = [self.make_job(plan, record) for plan, record in zip(plans, new, strict=True)]
            self.services.admission.admit(*jobs)
            self.services.admission.reserve(*jobs)
        for plan, record in zip(plans, new, strict=True):
            record.request["warnings"] = plan.warnings  # to be shown after the end, too
        try:
            found = await self.store.do(records.add(new, key))
        except BaseException:
            self.services.admission.release(*jobs)
            raise
        if found != new:
            self.services.admission.release(*jobs)
            return found
        for record, plan, job in zip(new, plans, jobs, strict=True):
            self.start(record, plan.without_uploads(), job)
        return found

    def start(self, record: Record, plan: PaintPlan | None = None, job: ServerJob | None = None) -> None:
        """Run a stored job; one without a plan as soon as its content can be checked."""
        live = LiveJob(record)
        self.live[record.id] = live
        self.feeds.publish(record.owner, record.id, "queued")
        live.task = asyncio.ensure_future(self._run(live, plan, job))

    def make_job(self, plan: PaintPlan, record: Record) -> ServerJob:
        """The engine's job of a stored one."""
        client, weight = client_of(record), weight_of(record.request)
        job = self.services.catalog.job(plan.model, plan.asked, plan.side, client=client, weight=weight)
        job.previews, job.reports_candidates = self._previews(record.owner), True
        job.on_begin = partial(self.store.submit, records.count_attempt(record.id))
        return job

    async def _remove_unused(self, requests: list[dict[str, Any]]) -> None:
        """Remove uploads of requests that became no jobs; if the store fails, the next start does it."""
        with suppress(PinxitError):
            names = set[str]().union(*map(records.input_pictures, requests))
            await asyncio.to_thread(self.store.remove, await self.store.do(records.unused_pictures(names)))

    async def cancel(self, name: str) -> None:
        """Cancel a live job; returns when that is stored. Raises PinxitError if it cannot be: the job goes on."""
        live = self.live[name]
        await self.store.do(records.finish(name, records.CANCELLED))
        live.cancelled = True  # not before it is stored: until then the job may end in another way, which is then kept
        if live.handle is not None:
            self.services.dispatcher.cancel(live.handle)
        await self._ended(live)

    def move_to_front(self, name: str) -> None:
        """Let a job run before the others of its client."""
        live = self.live[name]
        if live.handle is not None:
            self.services.dispatcher.runner.engine.move_to_front(live.handle.job)

    def update_previews(self) -> None:
        """Previews cost time: take them only for owners whose page is open. Called when one connects or leaves."""
        for live in self.live.values():
            if live.handle is not None:
                live.handle.job.previews = self._previews(live.record.owner)

    @property
    def stopping(self) -> bool:
        """Whether this process is ending, so that unfinished jobs are left to the next one."""
        return self.closing or self.services.dispatcher.runner.error is not None

    async def stop(self) -> None:
        """Follow jobs no more; unfinished ones stay queued for the next process."""
        self.closing = True
        self.feeds.close()
        tasks = [live.task for live in self.live.values() if live.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close the store, once the engine has stopped: no job begins any more, which would be counted.

        After an error of the engine the tries count: one of the jobs may have been the cause.
        """
        if self.services.dispatcher.runner.error is None:
            with suppress(Exception):
                await self.store.do(records.reset_attempts)
        await asyncio.to_thread(self.store.close)

    def status_of(self, live: LiveJob) -> dict[str, Any]:
        """A live job's progress, how many of its owner's jobs are ahead of it, and the estimated time left."""
        dispatcher, handle = self.services.dispatcher, live.handle
        share = dispatcher.progress(handle) if handle is not None else 0.0
        mine = [one for one in self.live.values() if one.record.owner == live.record.owner and one.handle is not None]
        before = [one for one in mine if one is not live and arrival_number(one) < arrival_number(live)]
        handles = [one.handle for one in [*before, live] if one.handle is not None]
        left = sum(one.cost * (1 - dispatcher.progress(one)) for one in handles)
        return {"share": round(share, 4), "ahead": len(before), "seconds_left": round(left, 1)}

    def _previews(self, owner: str) -> float:
        return PREVIEW_SECONDS if self.feeds.has_listeners(owner) else float("inf")

    async def _run(self, live: LiveJob, plan: PaintPlan | None, job: ServerJob | None) -> None:
        try:
            plan = plan or await plan_when_checked(self.services, self.store, live, self._checking)
            if plan is not None:
                job = job or self.make_job(plan, live.record)
                await self._paint_in_turn(live, plan.without_uploads(), job)
        except Exception as error:
            await self._fail(live, as_refused(error))
        if not self.stopping:
            await self._ended(live)

    async def _paint_in_turn(self, live: LiveJob, plan: PaintPlan, job: ServerJob) -> None:
        """Raises whatever fails the job."""
        # Jobs that share a call die together. On their last try each is alone: the others' is not used up.
        alone = live.record.tries and live.record.tries == self.services.settings.most_tries - 1
        self.services.admission.reserve(job)  # those of an earlier process, too, are work and hold their uploads
        try:
            async with self._last_try if alone else nullcontext():
                if not live.cancelled:
                    await self._paint(live, plan, job)
        finally:
            self.services.admission.release(job)

    async def _paint(self, live: LiveJob, plan: PaintPlan, job: ServerJob) -> None:
        job.previews = self._previews(live.record.owner)  # pages may have connected or left since
        cost = self.services.admission.costs.estimate(job)
        live.handle = self.services.dispatcher.submit(job, plan.model, cost=cost, detached=True)
        self.services.admission.release(job)
        event = await self._follow(live, live.handle)
        if event.kind == "done":
            await store_results(self.services, self.store, live, plan, event.data)
        elif not live.cancelled:
            raise event.data if isinstance(event.data, Exception) else RefusedError(503, "it was cancelled.")

    async def _fail(self, live: LiveJob, reason: RefusedError) -> None:
        """Store the failure, retrying while the disk is full: nothing is reported that is not stored."""
        wait = RETRY_SECONDS
        while not self.stopping and not live.cancelled:
            try:
                await self.store.do(records.finish(live.record.id, records.FAILED, error=reason.message))
            except PinxitError as error:
                log.error("the failure of a job cannot be stored yet: %s", error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 60.0)
            else:
                return

    async def _follow(self, live: LiveJob, handle: JobHandle) -> Event:
        owner, name = live.record.owner, live.record.id
        with self.services.dispatcher.listening(handle) as listener:
            async for event in handle.events(listener, PROGRESS_SECONDS):
                if event is not None and event.kind in TERMINAL:
                    return event
                if not self.feeds.has_listeners(owner):
                    continue
                if event is not None:
                    await self._publish_preview(live, event)
                if not live.cancelled:
                    self.feeds.publish(owner, name, "progress", **self.status_of(live))
        raise AssertionError("events end with a terminal one")

    async def _publish_preview(self, live: LiveJob, event: Event) -> None:
        place, value = event.data
        if not await self.services.policy.shows(value.picture):
            return
        candidate = getattr(value, "candidate", place[-1])
        call = partial(encode_picture, value.picture, {}, "webp", 80)
        data = await asyncio.get_running_loop().run_in_executor(self.services.encoders, call)
        preview = {"candidate": candidate, "finished": event.kind == "drawn"}
        if not live.cancelled:  # in the meantime: nothing follows the end
            self.feeds.publish_preview(live.record.owner, live.record.id, preview, data)

    async def _ended(self, live: LiveJob) -> None:
        if self.live.pop(live.record.id, None) is not None:
            self.feeds.publish(live.record.owner, live.record.id, "ended")


def _check_same_request(found: list[Record], digest: str) -> list[Record]:
    """The jobs found under a key. Raises RefusedError (409) if they were for another request."""
    if any(one.request.get("digest", digest) != digest for one in found):
        raise key_reused()
    return found

"""/api: durable jobs of the page and of programs, and a stream of their events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from pinxit.serve import records
from pinxit.serve.context import Context, ContextDep, caller_of, owner_of
from pinxit.serve.embeddings import model_list
from pinxit.serve.errors import RefusedError
from pinxit.serve.job_requests import NAME, stored_requests
from pinxit.serve.job_schemas import JobOut, JobRequest, JobsOut, Mark, PictureOut, url_of
from pinxit.serve.middleware import FOR_ALL_PAGES
from pinxit.serve.records import Record, StoredPicture
from pinxit.serve.requests import idempotency_key, request_digest
from pinxit.serve.schemas import ERRORS, ModelsOut
from pinxit.texts import check_text

router = APIRouter(prefix="/api", tags=["jobs"], responses=ERRORS)
pictures = APIRouter(tags=["files"], responses=ERRORS)


@router.get("/about")
async def about(context: ContextDep) -> ModelsOut:
    """The models that can be asked for."""
    return ModelsOut(data=model_list(context))


@router.post("/jobs", status_code=202)
async def submit(request: Request, asked: JobRequest, context: ContextDep) -> JobsOut:
    """Submit a job, or one for each of `recipes`. Jobs are stored durably before they are acknowledged."""
    check_text(asked.prompt, "prompt")
    owner, caller = owner_of(request, context), caller_of(request)
    key, digest = idempotency_key(request), request_digest(asked.model_dump())
    found = await context.jobs.earlier(owner, key, digest)
    if not found:
        requests = await stored_requests(asked, owner, context, context.jobs.store)
        more = {"client": caller.name, "weight": caller.weight, "digest": digest}
        found = await context.jobs.submit([one | more for one in requests], owner, key)
    return JobsOut(jobs=[_job_out(one, context) for one in found])


@router.get("/jobs")
async def jobs(
    request: Request,
    context: ContextDep,
    before: float = 1e12,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    words: Annotated[str, Query(max_length=500)] = "",
    starred: bool = False,
) -> JobsOut:
    """The newest first; for the next page, `before` is the `created` of the last one."""
    call = records.list_jobs(owner_of(request, context), before, limit, check_text(words, "words"), starred)
    return JobsOut(jobs=[_job_out(one, context) for one in await context.jobs.store.do(call)])


@router.get("/jobs/{name}")
async def job(request: Request, name: str, context: ContextDep) -> JobOut:
    """One job."""
    return _job_out(await _found(request, name, context), context)


@router.patch("/jobs/{name}")
async def mark(request: Request, name: str, asked: Mark, context: ContextDep) -> JobOut:
    """Add or remove a star, on a job or on one of its pictures."""
    call = records.star(owner_of(request, context), name, asked.starred, asked.picture)
    if not await context.jobs.store.do(call):
        raise RefusedError(404, "there is no such job or picture.")
    context.jobs.feeds.publish(owner_of(request, context), name, "marked")
    return _job_out(await _found(request, name, context), context)


@router.delete("/jobs/{name}")
async def remove(request: Request, name: str, context: ContextDep) -> JobsOut:
    """Cancel a job that has not ended; delete one that has, with its pictures."""
    found = await _found(request, name, context)
    if name in context.jobs.live:
        await context.jobs.cancel(name)
        return JobsOut(jobs=[_job_out(await _found(request, name, context), context)])
    names = await context.jobs.store.do(records.delete(found.owner, name))
    if names is None:  # another request was first
        raise RefusedError(404, "there is no such job.")
    context.jobs.feeds.publish(found.owner, name, "deleted")
    await asyncio.to_thread(context.jobs.store.remove, names)
    return JobsOut(jobs=[])


@router.post("/jobs/{name}/cancel")
async def cancel(request: Request, name: str, context: ContextDep) -> JobOut:
    """Cancel a job that has not ended; one that has, perhaps just now, is left as it is, with its pictures."""
    await _found(request, name, context)
    if name in context.jobs.live:
        await context.jobs.cancel(name)
    return _job_out(await _found(request, name, context), context)


@router.post("/jobs/{name}/front")
async def front(request: Request, name: str, context: ContextDep) -> JobOut:
    """Move a job to the front of your queue."""
    found = await _found(request, name, context)
    if name in context.jobs.live:
        context.jobs.move_to_front(name)
    return _job_out(found, context)


@router.delete("/jobs")
async def cancel_all(request: Request, context: ContextDep) -> JobsOut:
    """Cancel all of your jobs that have not ended."""
    owner = owner_of(request, context)
    names = [name for name, live in context.jobs.live.items() if live.record.owner == owner]
    for name in names:
        if name in context.jobs.live:
            await context.jobs.cancel(name)
    found = [await context.jobs.store.do(records.one(owner, name)) for name in names]
    return JobsOut(jobs=[_job_out(one, context) for one in found if one is not None])  # None: deleted just now


@router.get("/events", response_class=StreamingResponse)
async def events(request: Request, context: ContextDep) -> StreamingResponse:
    """Server-sent events of your jobs.

    `queued`, `progress`, `look` (a preview or a finished candidate), `ended`, `marked` (by a star, or no more),
    `deleted`.
    """
    owner = owner_of(request, context)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(owner, context), media_type="text/event-stream", headers=headers)


@pictures.get("/pictures/{name}.png", response_class=Response)
async def picture(name: str, context: ContextDep) -> Response:
    """A stored picture; its name cannot be guessed, and is all that is needed to read it."""
    if NAME.fullmatch(name) is None:
        raise RefusedError(404, "there is no such picture here.")
    try:
        data = await asyncio.to_thread(context.jobs.store.file(name).read_bytes)
    except FileNotFoundError as error:
        raise RefusedError(404, "there is no such picture here.") from error
    headers = {"cache-control": "private, max-age=31536000, immutable"} | FOR_ALL_PAGES
    return Response(data, media_type="image/png", headers=headers)


async def _events(owner: str, context: Context) -> AsyncIterator[bytes]:
    try:
        with context.jobs.feeds.listening(owner) as feed:
            context.jobs.update_previews()
            yield b": connected\n\n"
            async for message in feed.messages():
                yield b": keep-alive\n\n" if message is None else f"data: {json.dumps(message)}\n\n".encode()
    finally:
        context.jobs.update_previews()


async def _found(request: Request, name: str, context: Context) -> Record:
    found = await context.jobs.store.do(records.one(owner_of(request, context), name))
    if found is None:
        raise RefusedError(404, "there is no such job.")
    return found


def _job_out(record: Record, context: Context) -> JobOut:
    about = record.request
    live = context.jobs.live.get(record.id)
    model = context.catalog.models.get(about["recipe"])
    size = about["size"]
    side = int(size.split("x")[0]) if size != "auto" else model.default_size if model else 0
    more = {"share": 1.0 if record.state == records.DONE else 0.0} if live is None else context.jobs.status_of(live)
    return JobOut(
        id=record.id,
        state=record.state,
        created=record.created,
        ended=record.ended,
        **{name: about[name] for name in ("recipe", "kind", "prompt", "seed", "candidates", "keep", "settings")},
        group=about.get("group"),
        image=about.get("image"),
        other=about.get("other"),
        size=side,
        starred=record.starred,
        error=record.error,
        warnings=about.get("warnings", []),
        pictures=[_picture_out(one) for one in record.pictures],
        **more,
    )


def _picture_out(one: StoredPicture) -> PictureOut:
    return PictureOut(
        id=one.id,
        url=url_of(one.id),
        candidate=one.candidate,
        seed=one.seed,
        score=one.score,
        starred=bool(one.starred),
    )

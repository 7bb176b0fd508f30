"""/api: jobs of the page and of programs, a stream of what becomes of them, and what CLIP says of pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from pinxit.serve import records
from pinxit.serve.context import Context, Here, caller_of, owner_of
from pinxit.serve.embeddings import listed
from pinxit.serve.errors import RefusedError
from pinxit.serve.job_plan import NAME, requests_of
from pinxit.serve.job_schemas import (
    JobOut,
    JobRequest,
    JobsOut,
    Mark,
    PictureOut,
    url_of,
)
from pinxit.serve.records import Kept, Record
from pinxit.serve.requests import digest_of, key_of
from pinxit.serve.schemas import ERRORS, ModelsOut
from pinxit.texts import check_text

router = APIRouter(prefix="/api", tags=["jobs"], responses=ERRORS)
pictures = APIRouter(tags=["files"], responses=ERRORS)
JobName = Annotated[str, Query(max_length=64)]


@router.get("/about")
async def about(here: Here) -> ModelsOut:
    """What can be asked for."""
    return ModelsOut(data=listed(here))


@router.post("/jobs", status_code=202)
async def submit(request: Request, asked: JobRequest, here: Here) -> JobsOut:
    """Take on a job, or one for each of `recipes`. It is kept by the time it is acknowledged."""
    check_text(asked.prompt, "prompt")
    owner, caller, key, digest = (
        owner_of(request, here),
        caller_of(request),
        key_of(request),
        digest_of(asked.model_dump()),
    )
    found = await here.jobs.known(owner, key, digest)
    if not found:
        requests = await requests_of(asked, owner, here, here.jobs.store)
        more = {"client": caller.name, "weight": caller.weight, "digest": digest}
        found = await here.jobs.submit([one | more for one in requests], owner, key)
    return JobsOut(jobs=[_told(one, here) for one in found])


@router.get("/jobs")
async def jobs(
    request: Request,
    here: Here,
    before: float = 1e12,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    words: Annotated[str, Query(max_length=500)] = "",
    starred: bool = False,
) -> JobsOut:
    """The newest first; `before`: the `created` of the last one of a page."""
    call = records.listed(owner_of(request, here), before, limit, check_text(words, "words"), starred)
    return JobsOut(jobs=[_told(one, here) for one in await here.jobs.store.do(call)])


@router.get("/jobs/{name}")
async def job(request: Request, name: str, here: Here) -> JobOut:
    """One of them."""
    return _told(await _found(request, name, here), here)


@router.patch("/jobs/{name}")
async def mark(request: Request, name: str, asked: Mark, here: Here) -> JobOut:
    """Give it a star, or take it away."""
    call = records.star(owner_of(request, here), name, asked.starred, asked.picture)
    if not await here.jobs.store.do(call):
        raise RefusedError(404, "there is no such job or picture.")
    return _told(await _found(request, name, here), here)


@router.delete("/jobs/{name}")
async def remove(request: Request, name: str, here: Here) -> JobsOut:
    """Cancel it while it is under way; remove it and its pictures afterwards."""
    found = await _found(request, name, here)
    if name in here.jobs.live:
        await here.jobs.cancel(name)
        return JobsOut(jobs=[_told(await _found(request, name, here), here)])
    names = await here.jobs.store.do(records.forget(found.owner, name))
    await asyncio.to_thread(here.jobs.store.remove, names or [])
    return JobsOut(jobs=[])


@router.post("/jobs/{name}/front")
async def front(request: Request, name: str, here: Here) -> JobOut:
    """Let it come before your others."""
    found = await _found(request, name, here)
    if name in here.jobs.live:
        here.jobs.hasten(name)
    return _told(found, here)


@router.delete("/jobs")
async def cancel_all(request: Request, here: Here) -> JobsOut:
    """Cancel all of yours that are under way."""
    owner = owner_of(request, here)
    names = [name for name, live in here.jobs.live.items() if live.record.owner == owner]
    for name in names:
        if name in here.jobs.live:
            await here.jobs.cancel(name)
    return JobsOut(jobs=[_told(await _found(request, name, here), here) for name in names])


@router.get("/events", response_class=StreamingResponse)
async def events(request: Request, here: Here) -> StreamingResponse:
    """Server-sent events of your jobs: `queued`, `progress`, `look` (a candidate, finished or not), `ended`."""
    owner = owner_of(request, here)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(owner, here), media_type="text/event-stream", headers=headers)


@pictures.get("/pictures/{name}.png", response_class=FileResponse)
async def picture(name: str, here: Here) -> Response:
    """A kept picture, under a name that nobody can guess."""
    path = here.jobs.store.file(name)
    if NAME.fullmatch(name) is None or not await asyncio.to_thread(path.is_file):
        raise RefusedError(404, "there is no such picture here.")
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type="image/png", headers=headers)


async def _events(owner: str, here: Context) -> AsyncIterator[bytes]:
    with here.jobs.feeds.listening(owner) as feed:
        here.jobs.watched()
        try:
            yield b": here\n\n"
            async for message in feed.messages():
                yield b": still here\n\n" if message is None else f"data: {json.dumps(message)}\n\n".encode()
        finally:
            here.jobs.feeds.open.discard(feed)
            here.jobs.watched()


async def _found(request: Request, name: str, here: Context) -> Record:
    found = await here.jobs.store.do(records.one(owner_of(request, here), name))
    if found is None:
        raise RefusedError(404, "there is no such job.")
    return found


def _told(record: Record, here: Context) -> JobOut:
    about = record.request
    live = here.jobs.live.get(record.id)
    model = here.catalog.models.get(about["recipe"])
    size = about["size"]
    side = int(size.split("x")[0]) if size != "auto" else model.usual if model else 0
    more = {"share": 1.0 if record.state == records.DONE else 0.0} if live is None else here.jobs.standing(live)
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
        warnings=[] if live is None else live.plan.warnings,
        pictures=[_shown(one) for one in record.pictures],
        **more,
    )


def _shown(one: Kept) -> PictureOut:
    return PictureOut(
        id=one.id,
        url=url_of(one.id),
        candidate=one.candidate,
        seed=one.seed,
        score=one.score,
        starred=bool(one.starred),
    )

"""POST /v1/images/...: JSON or a stream of events, as the OpenAI clients read them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from pinxit.serve.content import left_out
from pinxit.serve.context import Context, Here, caller_of
from pinxit.serve.errors import RefusedError, body, kind_of, told
from pinxit.serve.hub import ENDS, Hub, Ticket
from pinxit.serve.plan import Plan, planned
from pinxit.serve.requests import WEIGHTS, patience, sameness, unless_gone
from pinxit.serve.schemas import ERRORS, GenerationRequest, ImagesOut, Painted, Streamed

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from pinxit.pipelines.work import Event
    from pinxit.types import Ranked

router = APIRouter(prefix="/v1/images", tags=["images"], responses=ERRORS)
EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}
GENERATION, EDIT = "image_generation", "image_edit"


@router.post(
    "/generations",
    response_model=ImagesOut,
    responses={200: {"content": EVENTS, "description": "Pictures, or with `stream` events"}},
)
async def generations(request: Request, asked: GenerationRequest, here: Here) -> Response:
    """Pictures of a sentence."""
    await here.policy.check_prompt(asked.prompt)
    plan = planned(asked, here.catalog, here.settings)
    return await serve(request, asked, plan, here, GENERATION)


async def serve(request: Request, asked: Painted, plan: Plan, here: Context, kind: str, *pictures: bytes) -> Response:
    """Paint a plan: the same job for a request that is the same; refused before the first byte where there is no room.

    `pictures`: what was sent besides the body.
    """
    here.check_open()
    key, about = sameness(request, asked.model_dump(), asked.seed is not None, *pictures)
    ticket = here.hub.find(key, about) if key else None
    if ticket is None:
        ticket = submitted(request, asked, plan, here)
        if key:
            here.hub.remember(key, about, ticket)
    elif ticket.job.request is not None:
        plan = replace(plan, asked=ticket.job.request)  # with the seed that was drawn then
    headers = here.admission.rates(ticket.cost)
    if isinstance(asked, Streamed) and asked.stream:
        headers |= {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Stream(request, plan, ticket, here, kind, headers)
    return await complete(request, plan, ticket, here, headers)


def submitted(request: Request, asked: Painted, plan: Plan, here: Context) -> Ticket:
    """Hand it to the engine. Raises RefusedError where there is no room."""
    caller, seconds = caller_of(request), patience(request)
    weight = caller.weight * WEIGHTS[asked.priority or "interactive"]
    shares = [k / (plan.partials + 1) for k in range(1, plan.partials + 1)]
    order = here.catalog.order(
        plan.model, plan.asked, plan.side, client=caller.name, weight=weight, shares=shares, looked_at=1
    )
    cost = here.admission.admit(order, patience=seconds)
    order.deadline = here.hub.runner.engine.clock() + seconds
    return here.hub.submit(order, plan.model, cost=cost)


async def complete(request: Request, plan: Plan, ticket: Ticket, here: Context, headers: dict[str, str]) -> Response:
    """Wait for the end, as long as the client does."""
    drawn = finished(await outcome(request, here.hub, ticket))
    ranked = await here.policy.allowed(drawn)
    files = await in_threads(here, [partial(here.file, plan, one) for one in ranked])
    data = [await pictured(request, plan, one, file, here) for one, file in zip(ranked, files, strict=True)]
    told_of = {"created": int(time.time()), "data": data, "background": "opaque", "output_format": plan.form}
    told_of |= {"quality": plan.quality, "size": plan.size, "usage": plan.usage()}
    told_of["warnings"] = [*plan.warnings, *left_out(drawn, ranked)]
    return JSONResponse(told_of, headers=headers)


async def outcome(request: Request, hub: Hub, ticket: Ticket) -> Event:
    """How a job ended, waited for as long as the client does. Raises RefusedError when it has left before."""
    async with unless_gone(request) as gone:
        waiting = asyncio.ensure_future(hub.outcome(ticket))
        try:
            await asyncio.wait([waiting, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not waiting.done():  # its last listener leaves: the job is let go
                waiting.cancel()
        if not waiting.done():
            raise RefusedError(499, "the client has left.")
        return waiting.result()


class Stream(StreamingResponse):
    """Listens before its first byte is asked for, so that a job is let go when the client has left by then."""

    def __init__(
        self, request: Request, plan: Plan, ticket: Ticket, here: Context, kind: str, headers: dict[str, str]
    ) -> None:
        super().__init__(iter(()), media_type="text/event-stream", headers=headers)
        self.listening = here.hub.listening(ticket)
        listener = self.listening.__enter__()
        self.body_iterator = events(request, plan, ticket.events(listener), here, kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.listening.__exit__(None, None, None)


async def events(
    request: Request, plan: Plan, coming: AsyncIterator[Event | None], here: Context, kind: str
) -> AsyncIterator[bytes]:
    """Partial pictures, then one `completed` a picture, or an error: never a silent end."""
    try:
        async with unless_gone(request) as gone:
            partial_index = 0
            async for event in coming:
                if gone.done():
                    return
                if event is None:
                    yield b": still here\n\n"
                elif event.kind == "preview" and partial_index < plan.partials:
                    if not await here.policy.shows(event.data[1].picture):
                        continue
                    (file,) = await in_threads(here, [partial(plan.look, event.data[1].picture)])
                    yield said(f"{kind}.partial_image", plan, file, {"partial_image_index": partial_index})
                    partial_index += 1
                elif event.kind in ENDS:
                    async for line in ended(event, plan, here, kind):
                        yield line
    except Exception as error:
        refused = told(error)
        yield sse({"type": "error"} | body(refused.message, kind_of(refused), refused.param, refused.code), "error")


async def ended(event: Event, plan: Plan, here: Context, kind: str) -> AsyncIterator[bytes]:
    """One event a picture."""
    drawn = finished(event)
    ranked = await here.policy.allowed(drawn)
    warnings = [*plan.warnings, *left_out(drawn, ranked)]
    for index, one in enumerate(ranked):
        (file,) = await in_threads(here, [partial(here.file, plan, one)])
        more: dict[str, Any] = {"seed": one.seed, "candidate": one.candidate, "score": one.score}
        more |= {"index": index, "usage": plan.usage(), "warnings": warnings}
        yield said(f"{kind}.completed", plan, file, more)


def finished(event: Event) -> list[Ranked]:
    """The pictures. Raises what ended the job instead."""
    if event.kind == "done":
        found: list[Ranked] = event.data
        return found
    if event.kind == "failed":
        raise event.data
    if event.kind == "expired":
        raise RefusedError(
            504, "it was not done before you stop waiting.", code="deadline", headers={"x-should-retry": "false"}
        )
    raise RefusedError(503, "the job was cancelled.", code="cancelled")


def said(kind: str, plan: Plan, file: bytes, more: dict[str, Any]) -> bytes:
    """An event with a picture."""
    told_of = {"type": kind, "b64_json": base64.b64encode(file).decode(), "created_at": int(time.time())}
    told_of |= {"background": "opaque", "output_format": plan.form, "quality": plan.quality, "size": plan.size}
    return sse(told_of | more, kind)


def sse(data: dict[str, Any], kind: str) -> bytes:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


async def pictured(request: Request, plan: Plan, one: Ranked, file: bytes, here: Context) -> dict[str, Any]:
    """A picture in an answer."""
    about = {"seed": one.seed, "candidate": one.candidate, "score": one.score, "revised_prompt": None}
    if not plan.as_url:
        return about | {"b64_json": base64.b64encode(file).decode(), "url": None}
    (name,) = await in_threads(here, [partial(here.urls.put, file, plan.form)])
    base = str(request.base_url).rstrip("/")
    return about | {"b64_json": None, "url": f"{base}/files/{name}"}


async def in_threads(here: Context, calls: list[Any]) -> list[Any]:
    """What each gives, computed beside the event loop."""
    loop = asyncio.get_running_loop()
    return list(await asyncio.gather(*(loop.run_in_executor(here.encoders, call) for call in calls)))

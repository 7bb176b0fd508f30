"""POST /v1/images/generations, and the responses of all /v1/images routes: JSON or a stream of events."""

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

from pinxit.serve import feed
from pinxit.serve.content import omission_warnings
from pinxit.serve.context import Context, ContextDep, caller_of
from pinxit.serve.dispatcher import TERMINAL, Dispatcher, JobHandle
from pinxit.serve.errors import RefusedError, as_refused, disconnected, envelope, error_type
from pinxit.serve.paint_plan import PaintPlan, make_plan
from pinxit.serve.requests import WEIGHTS, client_timeout, disconnect_watcher, idempotency_of
from pinxit.serve.schemas import ERRORS, GenerationRequest, ImagesOut, PictureRequest, StreamableRequest

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from pinxit.pipelines.work import Event
    from pinxit.types import Ranked

router = APIRouter(prefix="/v1/images", tags=["images"], responses=ERRORS)
EVENT_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
GENERATION, EDIT = "image_generation", "image_edit"


@router.post(
    "/generations",
    response_model=ImagesOut,
    responses={200: {"content": EVENT_STREAM, "description": "Pictures, or with `stream` events"}},
)
async def generations(request: Request, body: GenerationRequest, context: ContextDep) -> Response:
    """Pictures of a prompt."""
    await context.policy.check_prompt(body.prompt)
    plan = make_plan(body, context.catalog, context.settings)
    return await respond(request, body, *accept(request, body, plan, context), context, GENERATION)


def accept(
    request: Request, body: PictureRequest, plan: PaintPlan, context: Context, *pictures: bytes
) -> tuple[PaintPlan, JobHandle]:
    """Submit a plan, or share the job of an equal request; the plan of that job, without uploads, and the job.

    `pictures`: the uploads, which make requests different too. Raises RefusedError. Nothing may be awaited before
    `respond`: the job's other listeners may be leaving.
    """
    context.check_open()
    key, digest = idempotency_of(request, body.model_dump(), body.seed is not None, *pictures)
    deadline = context.dispatcher.runner.engine.clock() + client_timeout(request)
    handle = context.dispatcher.find(key, digest, deadline) if key else None
    if handle is None:
        handle = submit(request, body, plan, context)
        if key:
            context.dispatcher.remember(key, digest, handle)
    elif handle.job.request is not None:
        plan = replace(plan, asked=handle.job.request)  # with the seed that was drawn for the first of them
    return plan.without_uploads(), handle


async def respond(
    request: Request, body: PictureRequest, plan: PaintPlan, handle: JobHandle, context: Context, kind: str
) -> Response:
    """Answer with a job's pictures, as JSON or as a stream. Raises RefusedError before the first byte of a stream."""
    headers = context.admission.rate_headers(handle.cost)
    if isinstance(body, StreamableRequest) and body.stream:
        headers |= {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Stream(request, plan, handle, context, kind, headers)
    return await complete_response(request, plan, handle, context, headers)


def submit(request: Request, body: PictureRequest, plan: PaintPlan, context: Context) -> JobHandle:
    """Submit a job. Raises RefusedError (429) if admission control refuses it."""
    caller, seconds = caller_of(request), client_timeout(request)
    weight = caller.weight * WEIGHTS[body.priority or "interactive"]
    shares = [k / (plan.partials + 1) for k in range(1, plan.partials + 1)]
    job = context.catalog.job(
        plan.model, plan.asked, plan.side, client=caller.name, weight=weight, shares=shares, looked_at=1
    )
    cost = context.admission.admit(job, client_timeout=seconds)
    job.deadline = context.dispatcher.runner.engine.clock() + seconds
    return context.dispatcher.submit(job, plan.model, cost=cost)


async def complete_response(
    request: Request, plan: PaintPlan, handle: JobHandle, context: Context, headers: dict[str, str]
) -> Response:
    """Wait for the pictures, for as long as the client does."""
    painted = result_of(await outcome(request, context.dispatcher, handle))
    ranked = await context.policy.allowed(painted)
    files = await in_encoder_threads(context, [partial(context.file, plan, one) for one in ranked])
    data = [await image_out(request, plan, one, file, context) for one, file in zip(ranked, files, strict=True)]
    content = {"created": int(time.time()), "data": data, "background": "opaque", "output_format": plan.form}
    content |= {"quality": plan.quality, "size": plan.size, "usage": plan.usage()}
    content["warnings"] = [*plan.warnings, *omission_warnings(painted, ranked)]
    return JSONResponse(content, headers=headers)


async def outcome(request: Request, dispatcher: Dispatcher, handle: JobHandle) -> Event:
    """The terminal event of a job. Raises RefusedError if the client disconnects before."""
    with dispatcher.listening(handle) as listener:  # before anything is awaited: its other listeners may be leaving
        async with disconnect_watcher(request) as left:
            waiting = asyncio.ensure_future(handle.terminal(listener))
            try:
                await asyncio.wait([waiting, left], return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    raise disconnected()
                return waiting.result()
            finally:
                waiting.cancel()


class Stream(StreamingResponse):
    """A listener from the start, so that the job is cancelled even if the client disconnects before the first byte."""

    def __init__(
        self, request: Request, plan: PaintPlan, handle: JobHandle, context: Context, kind: str, headers: dict[str, str]
    ) -> None:
        super().__init__(iter(()), media_type="text/event-stream", headers=headers)
        self.listening = context.dispatcher.listening(handle)
        listener = self.listening.__enter__()
        self.body_iterator = kept_alive(event_stream(request, plan, handle.events(listener), context, kind))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.listening.__exit__(None, None, None)


async def kept_alive(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines, and one after every HEARTBEAT_SECONDS without any, whatever they wait for: a job, a check, a file."""
    while True:
        waiting = asyncio.ensure_future(anext(lines, None))
        try:
            while not (await asyncio.wait([waiting], timeout=feed.HEARTBEAT_SECONDS))[0]:
                yield b": keep-alive\n\n"
        finally:
            waiting.cancel()
        line = waiting.result()
        if line is None:
            return
        yield line


async def event_stream(
    request: Request, plan: PaintPlan, events: AsyncIterator[Event | None], context: Context, kind: str
) -> AsyncIterator[bytes]:
    """Partial pictures, then a `completed` event for each picture, or an error: the stream never ends silently."""
    try:
        async with disconnect_watcher(request) as left:
            partial_index = 0
            async for event in events:
                if left.done():
                    return
                if event is None:  # nothing happened; `kept_alive` says so
                    continue
                if event.kind == "preview" and partial_index < plan.partials:
                    async with context.time_limit.within():
                        if not await context.policy.shows(event.data[1].picture):
                            continue
                        (file,) = await in_encoder_threads(context, [partial(plan.preview_file, event.data[1].picture)])
                    yield picture_event(f"{kind}.partial_image", plan, file, {"partial_image_index": partial_index})
                    partial_index += 1
                elif event.kind in TERMINAL:
                    async for line in completed_events(event, plan, context, kind):
                        yield line
    except Exception as error:
        refused = as_refused(error)
        yield format_sse(
            {"type": "error"} | envelope(refused.message, error_type(refused), refused.param, refused.code), "error"
        )


async def completed_events(event: Event, plan: PaintPlan, context: Context, kind: str) -> AsyncIterator[bytes]:
    """A `completed` event for each picture."""
    painted = result_of(event)
    async with context.time_limit.within():
        ranked = await context.policy.allowed(painted)
    warnings = [*plan.warnings, *omission_warnings(painted, ranked)]
    for index, one in enumerate(ranked):
        async with context.time_limit.within():
            (file,) = await in_encoder_threads(context, [partial(context.file, plan, one)])
        more: dict[str, Any] = {"seed": one.seed, "candidate": one.candidate, "score": one.score}
        more |= {"index": index, "usage": plan.usage(), "warnings": warnings}
        yield picture_event(f"{kind}.completed", plan, file, more)


def result_of(event: Event) -> list[Ranked]:
    """The pictures of a job. Raises the error that ended it instead."""
    if event.kind == "done":
        found: list[Ranked] = event.data
        return found
    if event.kind == "failed":
        raise event.data
    if event.kind == "expired":
        raise RefusedError(
            504, "it was not done within your timeout.", code="deadline", headers={"x-should-retry": "false"}
        )
    raise RefusedError(503, "the job was cancelled.", code="cancelled")


def picture_event(kind: str, plan: PaintPlan, file: bytes, more: dict[str, Any]) -> bytes:
    """An event with a picture."""
    content = {"type": kind, "b64_json": base64.b64encode(file).decode(), "created_at": int(time.time())}
    content |= {"background": "opaque", "output_format": plan.form, "quality": plan.quality, "size": plan.size}
    return format_sse(content | more, kind)


def format_sse(data: dict[str, Any], kind: str) -> bytes:
    """A server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


async def image_out(request: Request, plan: PaintPlan, one: Ranked, file: bytes, context: Context) -> dict[str, Any]:
    """An item of a response's `data`."""
    digest = {"seed": one.seed, "candidate": one.candidate, "score": one.score, "revised_prompt": None}
    if not plan.as_url:
        return digest | {"b64_json": base64.b64encode(file).decode(), "url": None}
    (name,) = await in_encoder_threads(context, [partial(context.url_files.put, file, plan.form)])
    base = str(request.base_url).rstrip("/")
    return digest | {"b64_json": None, "url": f"{base}/files/{name}"}


async def in_encoder_threads(context: Context, calls: list[Any]) -> list[Any]:
    """The results of calls that run in threads, beside the event loop."""
    loop = asyncio.get_running_loop()
    return list(await asyncio.gather(*(loop.run_in_executor(context.encoders, call) for call in calls)))

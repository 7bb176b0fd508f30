"""GET /v1/models and POST /v1/embeddings: what is served, and CLIP embeddings of texts and pictures."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, Request

from pinxit.serve.catalog import CLIP, ServerJob
from pinxit.serve.context import Context, ContextDep, caller_of
from pinxit.serve.errors import RefusedError
from pinxit.serve.images import outcome, result_of
from pinxit.serve.requests import WEIGHTS, check_connected, client_timeout
from pinxit.serve.schemas import (
    ERRORS,
    MAX_PROMPT,
    EmbeddingOut,
    EmbeddingRequest,
    EmbeddingsOut,
    EmbeddingUsage,
    ModelOut,
    ModelsOut,
)
from pinxit.serve.upload_decoder import MAX_PIXELS
from pinxit.serve.uploads import UNCOUNTED, data_url
from pinxit.texts import check_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.serve.dispatcher import JobHandle

router = APIRouter(prefix="/v1", tags=["models"], responses=ERRORS)
MAX_TOTAL_PIXELS = UNCOUNTED * MAX_PIXELS  # of one request's pictures, which are all in memory at once
MAX_PICTURES = 256  # of one request
MAX_TOTAL_TEXT = 256 * MAX_PROMPT  # characters of one request's texts: a text is read to its end, then cut
STARTED = int(time.time())


@router.get("/models")
@router.get("/models/", include_in_schema=False)
async def models(context: ContextDep) -> ModelsOut:
    """Painters, the default one first, then the CLIP."""
    return ModelsOut(data=model_list(context))


@router.get("/models/{name:path}")  # names may hold slashes, as OWNER/NAME
async def model(name: str, context: ContextDep) -> ModelOut:
    """One model, by its name or an alias."""
    if name == CLIP and context.catalog.clip is not None:
        return _clip()
    asked = context.catalog.model(name)
    return next(one for one in model_list(context) if one.id == asked.name)


@router.post("/embeddings")
async def embeddings(request: Request, asked: EmbeddingRequest, context: ContextDep) -> EmbeddingsOut:
    """Unit vectors: the cosine between those of a text and of a picture says how well they match."""
    clip = clip_of(context)
    if asked.model not in (None, CLIP) and not str(asked.model).startswith("text-embedding-"):
        raise RefusedError(404, f"embeddings are of the model {CLIP}.", "model", "model_not_found")
    if asked.dimensions not in (None, clip.width):
        raise RefusedError(400, f"dimensions: a vector has {clip.width} numbers.", "dimensions", "invalid_value")
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    texts = [one for one in given if not one.startswith("data:")]
    pictures = len(given) - len(texts)
    _check_amount(pictures, sum(map(len, texts)))
    async with context.uploads.places.of(pictures):
        await check_connected(request)
        handle = submit_clip(request, await _starts(given, context), context)
    rows = result_of(await outcome(request, context.dispatcher, handle))
    data = [EmbeddingOut(index=k, embedding=_encoded_vector(row, asked.encoding_format)) for k, row in enumerate(rows)]
    count = sum(len(one.split()) for one in texts)
    return EmbeddingsOut(data=data, model=CLIP, usage=EmbeddingUsage(prompt_tokens=count, total_tokens=count))


def model_list(context: Context) -> list[ModelOut]:
    """All models."""
    found = [
        ModelOut(id=one.name, created=STARTED, can=one.can, sizes=one.native_sizes, settings=dict(one.painter.defaults))
        for one in context.catalog.models.values()
    ]
    return found if context.catalog.clip is None else [*found, _clip()]


def clip_of(context: Context) -> ClipEncoder:
    """The CLIP. Raises RefusedError (404) if none is served."""
    if context.catalog.clip is None:
        raise RefusedError(404, "no CLIP is served here.", "model", "model_not_found")
    return context.catalog.clip


async def clip_vectors(request: Request, starts: list[tuple[list[str], Any]], context: Context) -> list[Any]:
    """CLIP embeddings of a few values for the stages `clip/texts` and `clip/pictures`, in their order.

    They do not wait for what the client has painted meanwhile.
    Raises RefusedError if admission control refuses, and if the client disconnects.
    """
    handle = submit_clip(request, starts, context, brief=True)
    return list(result_of(await outcome(request, context.dispatcher, handle)))


def submit_clip(
    request: Request, starts: list[tuple[list[str], Any]], context: Context, brief: bool = False
) -> JobHandle:
    """Submit a job of those stages. Raises RefusedError if admission control refuses.

    `brief`: it goes before the client's other jobs.
    """
    context.check_open()
    caller, seconds = caller_of(request), client_timeout(request)
    job = ServerJob(starts, client=caller.name, weight=caller.weight * WEIGHTS["interactive"], brief=brief)
    cost = context.admission.admit(job, client_timeout=seconds)
    job.deadline = context.dispatcher.runner.engine.clock() + seconds
    return context.dispatcher.submit(job, cost=cost)


def _check_amount(pictures: int, characters: int) -> None:
    """Raise RefusedError for more than the work of one request may be."""
    if pictures > MAX_PICTURES:
        message = f"input: {pictures} pictures are sent; a request takes at most {MAX_PICTURES}."
        raise RefusedError(400, message, "input", "invalid_value")
    if characters > MAX_TOTAL_TEXT:
        message = f"input: the texts have {characters} characters together; a request takes at most {MAX_TOTAL_TEXT}."
        raise RefusedError(400, message, "input", "invalid_value")


async def _starts(given: Sequence[str], context: Context) -> list[tuple[list[str], Any]]:
    """Texts and decoded pictures, each with its stage."""
    starts, pixels = [], 0
    for one in given:
        start = await _start_of(one, context)
        pixels += start[1].size // 3 if isinstance(start[1], np.ndarray) else 0
        if pixels > MAX_TOTAL_PIXELS:
            message = f"input: the pictures have more than {MAX_TOTAL_PIXELS} pixels together; send several requests."
            raise RefusedError(400, message, "input", "invalid_value")
        starts.append(start)
    return starts


async def _start_of(one: str, context: Context) -> tuple[list[str], Any]:
    if one.startswith("data:"):
        return [f"{CLIP}/pictures"], (await context.uploads.decode(data_url(one, "input"), "input")).picture
    if not one.strip():
        raise RefusedError(400, "input: a text is empty.", "input", "invalid_value")
    if len(one) > MAX_PROMPT:
        raise RefusedError(400, f"input: a text has at most {MAX_PROMPT} characters.", "input", "invalid_value")
    return [f"{CLIP}/texts"], check_text(one, "input")


def _clip() -> ModelOut:
    return ModelOut(id=CLIP, created=STARTED, can=["embed"])


def _encoded_vector(row: Any, form: str | None) -> list[float] | str:
    """As numbers, or as base64 of little-endian float32, which the Python client asks for by default."""
    if form != "base64":
        return [float(value) for value in row]
    return base64.b64encode(np.asarray(row, "<f4").tobytes()).decode()

"""GET /v1/models and POST /v1/embeddings: what there is to ask for, and CLIP's vectors of sentences and pictures."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, Request

from pinxit.serve.catalog import CLIP, Order
from pinxit.serve.context import Context, Here, caller_of
from pinxit.serve.decoder import MOST_PIXELS
from pinxit.serve.errors import RefusedError
from pinxit.serve.images import finished, outcome
from pinxit.serve.requests import WEIGHTS, patience
from pinxit.serve.schemas import (
    ERRORS,
    MOST_PROMPT,
    EmbeddingOut,
    EmbeddingRequest,
    EmbeddingsOut,
    EmbeddingUsage,
    ModelOut,
    ModelsOut,
)
from pinxit.serve.uploads import data_url
from pinxit.texts import check_text

if TYPE_CHECKING:
    from pinxit.recipes.clip.encoder import ClipEncoder

router = APIRouter(prefix="/v1", tags=["models"], responses=ERRORS)
MOST_AREA = 4 * MOST_PIXELS  # of a request's pictures, which stay in memory until all have been looked at
STARTED = int(time.time())


@router.get("/models")
async def models(here: Here) -> ModelsOut:
    """Painters, the default one first, then the CLIP."""
    return ModelsOut(data=listed(here))


@router.get("/models/{name}")
async def model(name: str, here: Here) -> ModelOut:
    """One of them, by its name or an alias."""
    if name == CLIP and here.catalog.clip is not None:
        return _clip()
    asked = here.catalog.model(name)
    return next(one for one in listed(here) if one.id == asked.name)


@router.post("/embeddings")
async def embeddings(request: Request, asked: EmbeddingRequest, here: Here) -> EmbeddingsOut:
    """Vectors of length one: cosines between those of sentences and of pictures say how well they fit."""
    clip = clip_of(here)
    if asked.model not in (None, CLIP) and not str(asked.model).startswith("text-embedding-"):
        raise RefusedError(404, f"embeddings are of the model {CLIP}.", "model", "model_not_found")
    if asked.dimensions not in (None, clip.width):
        raise RefusedError(400, f"dimensions: a vector has {clip.width} numbers.", "dimensions", "invalid_value")
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    starts, area = [], 0
    for one in given:
        start = await _start(one, here)
        area += start[1].size // 3 if isinstance(start[1], np.ndarray) else 0
        if area > MOST_AREA:
            told = f"input: the pictures have more than {MOST_AREA} pixels together; send several requests."
            raise RefusedError(400, told, "input", "invalid_value")
        starts.append(start)
    rows = await encoded(request, starts, here)
    data = [EmbeddingOut(index=k, embedding=_told(row, asked.encoding_format)) for k, row in enumerate(rows)]
    count = sum(len(one.split()) for one in given if not one.startswith("data:"))
    return EmbeddingsOut(data=data, model=CLIP, usage=EmbeddingUsage(prompt_tokens=count, total_tokens=count))


def listed(here: Context) -> list[ModelOut]:
    """All models."""
    found = [
        ModelOut(id=one.name, created=STARTED, can=one.can, sizes=one.natives, settings=dict(one.painter.defaults))
        for one in here.catalog.models.values()
    ]
    return found if here.catalog.clip is None else [*found, _clip()]


def clip_of(here: Context) -> ClipEncoder:
    """The CLIP. Raises RefusedError where none is served."""
    if here.catalog.clip is None:
        raise RefusedError(404, "no CLIP is served here.", "model", "model_not_found")
    return here.catalog.clip


async def encoded(request: Request, starts: list[tuple[list[str], Any]], here: Context) -> list[Any]:
    """CLIP's vectors of values at the stages `clip/texts` and `clip/pictures`, in their order.

    Raises RefusedError where there is no room, and when the client stops waiting.
    """
    here.check_open()
    caller, seconds = caller_of(request), patience(request)
    order = Order(starts, client=caller.name, weight=caller.weight * WEIGHTS["interactive"])
    cost = here.admission.admit(order, patience=seconds)
    order.deadline = here.hub.runner.engine.clock() + seconds
    return list(finished(await outcome(request, here.hub, here.hub.submit(order, cost=cost))))


async def _start(one: str, here: Context) -> tuple[list[str], Any]:
    if one.startswith("data:"):
        return [f"{CLIP}/pictures"], (await here.uploads.decode(data_url(one, "input"), "input")).picture
    if not one.strip():
        raise RefusedError(400, "input: a text is empty.", "input", "invalid_value")
    if len(one) > MOST_PROMPT:
        raise RefusedError(400, f"input: a text has at most {MOST_PROMPT} characters.", "input", "invalid_value")
    return [f"{CLIP}/texts"], check_text(one, "input")


def _clip() -> ModelOut:
    return ModelOut(id=CLIP, created=STARTED, can=["embed"])


def _told(row: Any, form: str | None) -> list[float] | str:
    """Base64 of little-endian float32 is what the Python client asks for of its own accord."""
    if form != "base64":
        return [float(value) for value in row]
    return base64.b64encode(np.asarray(row, "<f4").tobytes()).decode()

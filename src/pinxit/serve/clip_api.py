"""/api/classify and /api/search: zero-shot classification and similarity search by CLIP."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from pinxit.recipes.clip.templates import templates
from pinxit.serve import records
from pinxit.serve.catalog import CLIP
from pinxit.serve.context import Context, ContextDep, owner_of
from pinxit.serve.embeddings import clip_of, clip_vectors
from pinxit.serve.errors import RefusedError
from pinxit.serve.job_requests import picture_content
from pinxit.serve.job_schemas import ClassifyRequest, Guess, GuessesOut, Hit, HitsOut, SearchRequest, url_of
from pinxit.serve.schemas import ERRORS
from pinxit.texts import check_text

router = APIRouter(prefix="/api", tags=["jobs"], responses=ERRORS)


@router.post("/classify")
async def classify(request: Request, asked: ClassifyRequest, context: ContextDep) -> GuessesOut:
    """The probability of each label for a picture, by CLIP (zero-shot)."""
    clip, prompts = clip_of(context), templates("simple")
    for label in asked.labels:
        check_text(label, "labels")
    start = await _picture_start(request, asked.image, context)
    sentences = [one.format(label) for label in asked.labels for one in prompts]
    rows = np.stack(await clip_vectors(request, [start, *(([f"{CLIP}/texts"], one) for one in sentences)], context))
    labels = rows[1:].reshape(len(asked.labels), len(prompts), -1).mean(1)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    logits = clip.scale * labels @ rows[0]
    weights = np.exp(logits - logits.max())
    found = sorted(zip(asked.labels, weights / weights.sum(), strict=True), key=lambda pair: -pair[1])
    return GuessesOut(labels=[Guess(label=label, share=float(share)) for label, share in found])


@router.post("/search")
async def search(request: Request, asked: SearchRequest, context: ContextDep) -> HitsOut:
    """Stored pictures most similar to a sentence or to a picture, best first."""
    clip_of(context)
    if (asked.sentence is None or not asked.sentence.strip()) == (asked.image is None):
        raise RefusedError(400, "give either a sentence or an image.", "sentence", "invalid_value")
    if asked.image is not None:
        start = await _picture_start(request, asked.image, context)
    else:
        start = [f"{CLIP}/texts"], check_text(asked.sentence or "", "sentence")
    (vector,) = await clip_vectors(request, [start], context)
    whose = owner_of(request, context), context.catalog.clip_name
    calls = records.nearest(*whose, vector, asked.top), records.count_not_embedded(*whose)
    best, left = await context.jobs.store.do(lambda db: (calls[0](db), calls[1](db)))  # of one moment
    hits = [Hit(picture=name, job=job, url=url_of(name), score=score) for name, job, score in best]
    return HitsOut(hits=hits, unsearched=left)


async def _picture_start(request: Request, given: str, context: Context) -> tuple[list[str], Any]:
    data = await picture_content(given, "image", owner_of(request, context), context, context.jobs.store)
    return [f"{CLIP}/pictures"], (await context.uploads.decode(data, "image")).picture

"""/api/classify and /api/search: what CLIP says of pictures."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from pinxit.recipes.clip.templates import templates
from pinxit.serve import records
from pinxit.serve.catalog import CLIP
from pinxit.serve.context import Context, Here, owner_of
from pinxit.serve.embeddings import clip_of, encoded
from pinxit.serve.errors import RefusedError
from pinxit.serve.job_plan import NAME
from pinxit.serve.job_schemas import ClassifyRequest, Guess, GuessesOut, Hit, HitsOut, SearchRequest, url_of
from pinxit.serve.schemas import ERRORS
from pinxit.texts import check_text

router = APIRouter(prefix="/api", tags=["jobs"], responses=ERRORS)


@router.post("/classify")
async def classify(request: Request, asked: ClassifyRequest, here: Here) -> GuessesOut:
    """How likely each label is for a picture, by CLIP (zero-shot)."""
    clip, around = clip_of(here), templates("simple")
    for label in asked.labels:
        check_text(label, "labels")
    start = await _picture(request, asked.image, here)
    sentences = [one.format(label) for label in asked.labels for one in around]
    rows = np.stack(await encoded(request, [start, *(([f"{CLIP}/texts"], one) for one in sentences)], here))
    labels = rows[1:].reshape(len(asked.labels), len(around), -1).mean(1)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    logits = clip.scale * labels @ rows[0]
    shares = np.exp(logits - logits.max())
    found = sorted(zip(asked.labels, shares / shares.sum(), strict=True), key=lambda pair: -pair[1])
    return GuessesOut(labels=[Guess(label=label, share=float(share)) for label, share in found])


@router.post("/search")
async def search(request: Request, asked: SearchRequest, here: Here) -> HitsOut:
    """Kept pictures that fit a sentence, or look like a picture, best first."""
    clip_of(here)
    if (asked.sentence is None or not asked.sentence.strip()) == (asked.image is None):
        raise RefusedError(400, "give either a sentence or an image.", "sentence", "invalid_value")
    if asked.image is not None:
        start = await _picture(request, asked.image, here)
    else:
        start = [f"{CLIP}/texts"], check_text(asked.sentence or "", "sentence")
    (row,) = await encoded(request, [start], here)
    best = await here.jobs.store.do(records.nearest(owner_of(request, here), row, asked.top))
    return HitsOut(hits=[Hit(picture=name, job=job, url=url_of(name), score=score) for name, job, score in best])


async def _picture(request: Request, given: str, here: Context) -> tuple[list[str], Any]:
    if NAME.fullmatch(given):
        if not await here.jobs.store.do(records.picture_of(owner_of(request, here), given)):
            raise RefusedError(404, "image: there is no such picture.", "image", "not_found")
        data = await asyncio.to_thread(here.jobs.store.file(given).read_bytes)
    else:
        data = await here.fetcher.data(given, "image")
    return [f"{CLIP}/pictures"], (await here.uploads.decode(data, "image")).picture

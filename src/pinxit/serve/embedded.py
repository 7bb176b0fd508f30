"""CLIP embeddings of stored pictures, by which they are found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pinxit.errors import PinxitError
from pinxit.serve import records
from pinxit.serve.catalog import CLIP, WARM_UP, ServerJob
from pinxit.serve.errors import RefusedError
from pinxit.serve.requests import WEIGHTS

if TYPE_CHECKING:
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.serve.services import Services
    from pinxit.serve.store import Store
    from pinxit.types import Picture

log = logging.getLogger("pinxit.serve")


async def picture_vectors(
    services: Services, pictures: Sequence[Picture], client: str, weight: float
) -> list[bytes | None]:
    """Embeddings float32 [E] as little-endian bytes; None where there is no CLIP, or it fails.

    Raises RefusedError (503) if the engine has stopped.
    """
    if services.catalog.clip is None or not pictures:
        return [None] * len(pictures)
    job = ServerJob([([f"{CLIP}/pictures"], one) for one in pictures], client=client, weight=weight, brief=True)
    event = await services.dispatcher.outcome(services.dispatcher.submit(job, detached=True))
    if event.kind != "done":
        return [None] * len(pictures)
    return [np.asarray(row, "<f4").tobytes() for row in event.data]


async def embed_others(services: Services, store: Store) -> None:
    """Embed the stored pictures that this CLIP has not: painted with another one, or with none, or when it failed.

    A call's worth at a time, with the share of a client's batch work. What fails is left to the next start.
    """
    clip, after, count = services.catalog.clip, "", 0
    try:
        while clip and (names := await store.do(records.not_embedded(services.catalog.clip_name, after, clip.batch))):
            after = names[-1]
            pictures = await asyncio.to_thread(_read, clip, store, names)
            vectors = await picture_vectors(services, list(pictures.values()), WARM_UP, WEIGHTS["batch"])
            found = {name: vector for name, vector in zip(pictures, vectors, strict=True) if vector is not None}
            await store.do(records.embed(services.catalog.clip_name, found))
            count += len(found)
    except Exception as error:  # as of the disk: the server goes on
        known = isinstance(error, PinxitError | RefusedError)
        log.error("stored pictures cannot be embedded again: %s", error, exc_info=not known)
    if count:
        log.info("%d stored pictures were embedded by the CLIP that is served now", count)


def _read(clip: ClipEncoder, store: Store, names: Sequence[str]) -> dict[str, Picture]:
    """The pictures, by name, as the CLIP sees them; those that have been deleted or cannot be read are left out."""
    found = {}
    for name in names:
        try:
            found[name] = clip.read(store.file(name))
        except PinxitError as error:
            log.warning("a stored picture cannot be embedded: %s", type(error).__name__)
    return found

"""Storing the pictures of a finished job, with their CLIP embeddings, before it is reported as done."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pinxit.errors import PinxitError
from pinxit.files import write_bytes
from pinxit.serve import records
from pinxit.serve.catalog import CLIP, ServerJob
from pinxit.serve.content import omission_warnings
from pinxit.serve.live_job import LiveJob, client_of, weight_of
from pinxit.serve.records import StoredPicture
from pinxit.serve.store import Store, sync_folder

if TYPE_CHECKING:
    from pinxit.serve.paint_plan import PaintPlan
    from pinxit.serve.services import Services
    from pinxit.types import Ranked


async def store_results(
    services: Services, store: Store, live: LiveJob, plan: PaintPlan, painted: Sequence[Ranked]
) -> None:
    """Write the pictures, then that the job is done; none is left on the disk if this fails.

    Raises RefusedError if the content policy allows none of them, PinxitError if they cannot be stored.
    """
    ranked = await services.policy.allowed(painted)
    vectors = await _clip_vectors(services, live, ranked)
    stored = [
        StoredPicture(secrets.token_hex(16), place, one.candidate, one.seed, one.score, vector=vector)
        for place, (one, vector) in enumerate(zip(ranked, vectors, strict=True))
    ]
    names = [one.id for one in stored]

    def write() -> None:
        try:
            for one, picture in zip(stored, ranked, strict=True):
                write_bytes(store.file(one.id), services.file(plan, picture))
            sync_folder(store.folder)
        except BaseException:  # the disk may be full: keep nothing
            store.remove(names)
            raise

    await asyncio.get_running_loop().run_in_executor(services.encoders, write)
    warning = next(iter(omission_warnings(painted, ranked)), None)
    try:
        done = await store.do(records.finish(live.record.id, records.DONE, stored, warning))
    except PinxitError:  # as where the disk is full: the job fails, which needs room to be stored, too
        await asyncio.to_thread(store.remove, names)
        raise
    if not done:  # cancelled in the meantime
        await asyncio.to_thread(store.remove, names)


async def _clip_vectors(services: Services, live: LiveJob, ranked: Sequence[Ranked]) -> list[bytes | None]:
    if services.catalog.clip is None:
        return [None] * len(ranked)
    starts = [([f"{CLIP}/pictures"], one.picture) for one in ranked]
    job = ServerJob(starts, client=client_of(live.record), weight=weight_of(live.record.request), brief=True)
    event = await services.dispatcher.outcome(services.dispatcher.submit(job, detached=True))
    if event.kind != "done":
        return [None] * len(ranked)
    return [np.asarray(row, "<f4").tobytes() for row in event.data]

"""Storing the pictures of a finished job, with their CLIP embeddings, before it is reported as done."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pinxit.errors import PinxitError
from pinxit.files import write_bytes
from pinxit.serve import records
from pinxit.serve.content import omission_warnings
from pinxit.serve.embedded import picture_vectors
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
    client, weight = client_of(live.record), weight_of(live.record.request)
    vectors = await picture_vectors(services, [one.picture for one in ranked], client, weight)
    clip = services.catalog.clip_name
    stored = [
        StoredPicture(
            secrets.token_hex(16), place, one.candidate, one.seed, one.score, 0, vector, clip if vector else None
        )
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

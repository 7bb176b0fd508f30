"""The pictures of a finished job: on the disk, with what CLIP sees in them, before anybody is told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pinxit.files import write_bytes
from pinxit.serve import records
from pinxit.serve.catalog import CLIP, Order
from pinxit.serve.content import left_out
from pinxit.serve.live import Live, client_of, weight_of
from pinxit.serve.records import Kept
from pinxit.serve.store import Store, sync_folder

if TYPE_CHECKING:
    from pinxit.serve.parts import Parts
    from pinxit.types import Ranked


async def keep(here: Parts, store: Store, live: Live, drawn: Sequence[Ranked]) -> None:
    """Write them, then that the job is done. Raises RefusedError where none of them may be shown."""
    ranked = await here.policy.allowed(drawn)
    seen = await _vectors(here, live, ranked)
    kept = [
        Kept(secrets.token_hex(16), place, one.candidate, one.seed, one.score, vector=vector)
        for place, (one, vector) in enumerate(zip(ranked, seen, strict=True))
    ]

    def write() -> None:
        try:
            for one, picture in zip(kept, ranked, strict=True):
                write_bytes(store.file(one.id), here.file(live.plan, picture))
        except BaseException:  # a full disk is not kept full
            store.remove(one.id for one in kept)
            raise

    await asyncio.get_running_loop().run_in_executor(here.encoders, write)
    await asyncio.to_thread(sync_folder, store.folder)
    said = next(iter(left_out(drawn, ranked)), None)
    if not await store.do(records.finish(live.record.id, records.DONE, kept, said)):  # cancelled meanwhile
        await asyncio.to_thread(store.remove, [one.id for one in kept])


async def _vectors(here: Parts, live: Live, ranked: Sequence[Ranked]) -> list[bytes | None]:
    if here.catalog.clip is None:
        return [None] * len(ranked)
    starts = [([f"{CLIP}/pictures"], one.picture) for one in ranked]
    order = Order(starts, client=client_of(live.record), weight=weight_of(live.record.request))
    event = await here.hub.outcome(here.hub.submit(order, detached=True))
    if event.kind != "done":
        return [None] * len(ranked)
    return [np.asarray(row, "<f4").tobytes() for row in event.data]

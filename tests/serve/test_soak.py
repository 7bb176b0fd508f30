"""A server in use for hours: what it holds does not grow, and no gauge drifts."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import random
import statistics
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image

from tests.recipes.painters import save_random_checkpoint
from tests.serve.process import Process

MINUTES = float(os.environ.get("PINXIT_SOAK_MINUTES", "120"))
WARM = 0.25  # of the time, before which memory may grow
EVERY = 10.0  # seconds between two looks
STILL = ("pinxit_jobs", "pinxit_rows_held", "pinxit_backlog_seconds")


def png(size: int, mode: str = "RGB") -> bytes:
    found = io.BytesIO()
    pixels = np.random.default_rng(size).integers(0, 256, (size, size, len(mode)), np.uint8)
    Image.fromarray(pixels).save(found, "png")
    return found.getvalue()


def slope(samples: list[tuple[float, float]]) -> float:
    """Per hour: the median of all pairs' slopes (Theil and Sen), which single jumps do not move."""
    some = samples[:: len(samples) // 300 + 1]
    return 3600 * statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(some, 2))


async def use(client: httpx.AsyncClient, dice: random.Random, stop: float) -> int:
    """What clients do, good ones and bad ones, until `stop`."""
    count, url = 0, "data:image/png;base64," + base64.b64encode(png(32)).decode()
    images = {"image": ("p.png", png(32)), "mask": ("m.png", png(32, "RGBA"))}

    async def leave(body: dict[str, Any]) -> None:
        async with client.stream("POST", "/v1/images/generations", json=body | {"stream": True}) as answer:
            await anext(answer.aiter_bytes(), None)

    async def keep_and_remove(body: dict[str, Any]) -> None:
        (job,) = (await client.post("/api/jobs", json=body)).json()["jobs"]
        for _ in range(600):
            if (await client.get(f"/api/jobs/{job['id']}")).json()["state"] != "queued":
                break
            await asyncio.sleep(0.05)
        if dice.random() < 0.5:
            await client.delete(f"/api/jobs/{job['id']}")

    does: list[Any] = [
        lambda body: client.post("/v1/images/generations", json=body),
        lambda body: client.post("/v1/images/generations", json=body | {"response_format": "url"}),
        lambda body: client.post("/v1/images/generations", json=body | {"n": 0}),
        lambda body: client.post("/v1/images/edits", data={"prompt": "a", "candidates": "1"}, files=images),
        lambda body: client.post("/v1/images/edits", data={"prompt": "a"}, files={"image": ("p", png(32)[:90])}),
        lambda body: client.post("/v1/embeddings", json={"input": ["a cat", url]}),
        lambda body: client.post("/api/classify", json={"image": url, "labels": ["cat", "dog"]}),
        lambda body: client.post("/api/search", json={"sentence": "a star"}),
        lambda body: client.get("/metrics"),
        leave,
        keep_and_remove,
    ]
    while time.monotonic() < stop:
        asked = {"prompt": dice.choice(["a red square", "two blue stars"]), "seed": dice.randrange(2**31)}
        answer = await dice.choice(does)(asked | {"candidates": dice.randint(1, 3)})
        assert answer is None or answer.status_code < 500, answer.text
        count += 1
        await asyncio.sleep(dice.random() * 0.2)
    return count


def gauges(server: Process) -> dict[str, float]:
    lines = httpx.get(server.url + "/metrics", timeout=600).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines) if name in STILL}


def soaked(folder: Path, seconds: float) -> tuple[int, list[tuple[float, float, int]], dict[str, float]]:
    """Requests, (seconds, MB, descriptors) as time goes, and the gauges when nobody asks any more."""
    save_random_checkpoint(folder / "nano")
    server, samples = Process(folder / "nano", folder / "data", clip=folder / "nano"), list[tuple[float, float, int]]()
    began = time.monotonic()

    async def look() -> None:
        while True:
            samples.append((time.monotonic() - began, server.memory, server.descriptors))
            await asyncio.sleep(min(EVERY, seconds / 20))

    async def all_of_it() -> int:
        looking = asyncio.ensure_future(look())
        async with httpx.AsyncClient(base_url=server.url, timeout=600) as client:
            users = (use(client, random.Random(k), began + seconds) for k in range(3))
            count = sum(await asyncio.gather(*users))
        looking.cancel()
        return count

    try:
        count = asyncio.run(all_of_it())
        for _ in range(100):
            if not any((found := gauges(server)).values()):
                break
            time.sleep(0.1)
        return count, samples, found
    finally:
        server.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_little_use_leaves_nothing_under_way(tmp_path: Path) -> None:
    count, samples, left = soaked(tmp_path, 4.0)
    assert count > 5 and len(left) == len(STILL) and not any(left.values()), left
    assert samples[-1][2] <= samples[len(samples) // 2][2] + 8


@pytest.mark.slow
@pytest.mark.timeout(5 * 3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hours_of_use_leave_no_memory_and_no_descriptors_behind(tmp_path: Path) -> None:
    """PINXIT_SOAK_MINUTES of it, 120 if not said."""
    count, samples, left = soaked(tmp_path, 60 * MINUTES)
    late = [one for one in samples if one[0] > WARM * samples[-1][0]]
    memory, files = slope([(at, mb) for at, mb, _ in late]), slope([(at, float(fds)) for at, _, fds in late])
    fds = [one[2] for one in late]
    print(f"{count} requests in {MINUTES:g} minutes; {late[0][1]:.1f} to {late[-1][1]:.1f} MB, {memory:+.2f} MB/h")
    eighths = [samples[len(samples) * n // 8][1] for n in range(8)] + [samples[-1][1]]
    print("MB after each eighth: " + ", ".join(f"{mb:.1f}" for mb in eighths))
    print(f"descriptors {min(fds)} to {max(fds)}, {files:+.2f}/h; {left}")
    assert memory < 1.0 and abs(files) < 1.0 and not any(left.values())

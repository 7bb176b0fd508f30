"""Whatever breaks inside, a client hears of it: a stream ends by its pictures or by an error, never silently."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.serve.running import Running, running

STAGES = ("text", "pixels", "embed", "rank")


def broken(server: Running, dice: random.Random, share: float) -> None:
    """Let every function of the painter's fail by chance."""
    graph = server.context.catalog.graph
    for name in STAGES:
        worker: Any = graph[f"dalle/{name}"].worker

        def failing(items: Any, function: Any = worker.function) -> Any:
            if dice.random() < share:
                raise dice.choice([RuntimeError("boom"), ArithmeticError("nan"), MemoryError(), KeyError("x")])
            return function(items)

        worker.function = failing


def faults(folder: Path, count: int) -> None:
    dice, ends = random.Random(count), Counter[str]()

    async def ask(client: openai.AsyncOpenAI, k: int) -> None:
        body = {"seed": dice.randrange(2**31), "candidates": dice.randint(1, 3)}
        try:
            if k % 3 == 0:
                await client.images.generate(prompt="a cat", extra_body=body)
                ends["done"] += 1
                return
            stream = await client.images.generate(prompt="a cat", stream=True, partial_images=k % 4, extra_body=body)
            kinds = [event.type async for event in stream]
            assert kinds[-1] == "image_generation.completed"
            ends["done"] += 1
        except openai.APIError as error:
            assert "went wrong here" in str(error) and "boom" not in str(error)
            ends["failed"] += 1

    async def all_of_them(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=600) as client:
            for start in range(0, count, 10):
                await asyncio.gather(*(ask(client, k) for k in range(start, min(count, start + 10))))

    with running(folder) as server:
        broken(server, dice, 0.25)
        asyncio.run(all_of_them(server.url))
        assert sum(ends.values()) == count and ends["done"] and ends["failed"], ends
        assert not server.context.dispatcher.handles and not server.context.dispatcher.runner.engine.started


def test_no_fault_ends_a_stream_silently(tmp_path: Path) -> None:
    faults(tmp_path, 40)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_faults_end_no_stream_silently(tmp_path: Path) -> None:
    faults(tmp_path, 1000)

"""`pinxit serve` beside LitServe's batching and beside one request at a time, under the same arrivals, in one run.

    pip install litserve
    python benchmarks/serve.py --load 0.3 --seconds 10
    python benchmarks/serve.py --load 0.8 --seconds 10

The same painter stands behind all three, in a process of its own, with as many threads. Requests arrive by chance
(Poisson) at `--load` of what one at a time can do, and ask for 1, 2 or 4 candidates, so that their lengths are mixed.
LitServe gathers up to 8 requests for 50 ms and paints those of a like number of candidates together. Told are seconds
to the first look (what only a stream has: elsewhere it is the picture) and to the picture. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEMS = ("pinxit", "litserve", "one at a time")
PROMPTS = ("a red square", "two blue stars", "a small red cube on top of a big green cube", "a cat")
SIZES = (1, 2, 4)  # candidates


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--load", type=float, default=0.3, help="share of what one request at a time can do")
    parser.add_argument("--seconds", type=float, default=10.0, help="of arrivals, for each system")
    parser.add_argument("--role", choices=SYSTEMS, help="be this server (used by the benchmark itself)")
    parser.add_argument("--port", type=int, default=0)
    return parser.parse_args()


def be_pinxit(checkpoint: str, port: int) -> None:
    """Our server."""
    from pinxit.serve.server import run
    from pinxit.serve.settings import Settings

    with TemporaryDirectory() as folder:
        settings = Settings(recipes=(f"it={checkpoint}",), clip="", port=port, data=folder, budget_seconds=1e4)
        sys.exit(run(settings))


def be_litserve(checkpoint: str, port: int) -> None:
    """LitServe over `paint_many`."""
    import litserve

    from serve_peer import Batched

    api = Batched(max_batch_size=8, batch_timeout=0.05)
    api.checkpoint = checkpoint
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, timeout=600)
    server.run(port=port, host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="warning")


def be_one_at_a_time(checkpoint: str, port: int) -> None:
    """FastAPI, a lock, the painter."""
    import threading

    import uvicorn
    from fastapi import Body, FastAPI

    from serve_peer import loaded, told

    app, painter, lock = FastAPI(), loaded(checkpoint), threading.Lock()

    def predict(asked: Any = Body()) -> Any:
        with lock:
            found = painter.paint(asked["prompt"], seed=asked["seed"], candidates=asked["candidates"], keep=1)
        return told(found)

    app.post("/predict")(predict)
    app.get("/health")(lambda: {"well": True})
    uvicorn.run(app, port=port, log_level="warning")


ROLES = {"pinxit": be_pinxit, "litserve": be_litserve, "one at a time": be_one_at_a_time}


@contextmanager
def served(system: str, checkpoint: str) -> Iterator[str]:
    """A server in a process of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__)), "--role", system, "--port", str(port), "--checkpoint", checkpoint]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ready = "ready" if system == "pinxit" else "health"
        for _ in range(1200):
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/{ready}").status_code == 200:
                    break
            if process.poll() is not None:
                raise SystemExit(f"the server of {system} ended")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


async def ask(client: httpx.AsyncClient, system: str, url: str, asked: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first look and to the picture."""
    began, first = time.perf_counter(), None
    if system != "pinxit":
        (await client.post(f"{url}/predict", json=asked)).raise_for_status()
    else:
        body = asked | {"stream": True, "partial_images": 3}
        async with client.stream("POST", f"{url}/v1/images/generations", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("event: image_generation.partial_image") and first is None:
                    first = time.perf_counter() - began
                assert not line.startswith("event: error"), line
    whole = time.perf_counter() - began
    return first or whole, whole


async def arrivals(system: str, url: str, rate: float, seconds: float) -> dict[str, float]:
    """Requests as they come; what their clients saw."""
    dice = random.Random(0)
    async with httpx.AsyncClient(timeout=600) as client:
        tasks, began = [], time.perf_counter()
        while time.perf_counter() - began < seconds:
            asked = {"prompt": dice.choice(PROMPTS), "seed": dice.randrange(2**31), "candidates": dice.choice(SIZES)}
            tasks.append(asyncio.ensure_future(ask(client, system, url, asked)))
            await asyncio.sleep(dice.expovariate(rate))
        found = await asyncio.gather(*tasks)
        took = time.perf_counter() - began
    looks, pictures = zip(*found, strict=True)
    share = {"requests": float(len(found)), "a second": round(len(found) / took, 3)}
    for what, times in (("look", sorted(looks)), ("picture", sorted(pictures))):
        share |= {f"{what} p50": statistics.median(times), f"{what} p99": times[int(0.99 * len(times))]}
    return {name: round(value, 3) for name, value in share.items()}


async def capacity(system: str, url: str, seconds: float) -> float:
    """Requests a second, eight clients that never rest."""
    dice, done, stop = random.Random(1), 0, time.perf_counter() + seconds

    async def client() -> None:
        nonlocal done
        async with httpx.AsyncClient(timeout=600) as session:
            while time.perf_counter() < stop:
                asked = {"prompt": dice.choice(PROMPTS), "seed": dice.randrange(2**31)}
                await ask(session, system, url, asked | {"candidates": dice.choice(SIZES)})
                done += 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(8)))
    return done / (time.perf_counter() - began)


def main() -> None:
    """Measure all three."""
    args = arguments()
    if args.role:
        ROLES[args.role](args.checkpoint, args.port)
        return
    found: dict[str, dict[str, float]] = {}
    rate = 0.0
    for system in reversed(SYSTEMS):
        with served(system, args.checkpoint) as url:
            most = asyncio.run(capacity(system, url, args.seconds / 2))
            rate = rate or most * args.load
            found[system] = {"most a second": round(most, 3)} | asyncio.run(arrivals(system, url, rate, args.seconds))
        print(system, found[system], flush=True)
    print(json.dumps({"load": args.load, "rate": round(rate, 3), "systems": found}))


if __name__ == "__main__":
    main()

"""Engines that are replicas: events to the end whatever dies, and nothing goes on that nobody waits for."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.work import Event
from pinxit.pipelines.worker import Each
from pinxit.serve import replicas
from pinxit.serve.catalog import Catalog, Order
from pinxit.serve.hub import Hub
from pinxit.serve.replica import Replica, Report, Sent
from pinxit.serve.replicas import Distant, Replicas
from pinxit.serve.settings import Settings
from tests.processes import below
from tests.recipes.painters import save_random_checkpoint
from tests.serve.running import Running, running

GRAPH = Graph([Stage("a", Each(lambda items: [0 for _ in items]))], {"r": ["a"]})
DONE = Report("done", ["a picture"], 1.0, {"a": 2.0})
Script = list[Report | Exception]


class Stream:
    """What a replica answers: told one after the other; an error is raised, and after the last it hangs."""

    def __init__(self, script: Script) -> None:
        self.script, self.given_up = list(script), False

    def cancel(self) -> None:
        self.given_up = True

    async def __aiter__(self) -> AsyncIterator[Report]:
        for one in self.script:
            await asyncio.sleep(0)
            if isinstance(one, Exception):
                raise one
            yield one
        await asyncio.sleep(60)


class Placed:
    """Replicas by script."""

    count = 2

    def __init__(self, *scripts: Script) -> None:
        self.scripts, self.sent, self.streams = list(scripts), list[Sent](), list[Stream]()
        self.handle = self.paint = self

    def remote(self, sent: Sent) -> Stream:
        self.sent.append(sent)
        self.streams.append(Stream(self.scripts.pop(0)))
        return self.streams[-1]


def heard(placed: Placed, job: Order, during: Callable[[Distant], Any] | None = None, tries: int = 3) -> list[Event]:
    """All that is told of a job."""
    found: list[Event] = []

    async def talk() -> None:
        distant = Distant(GRAPH, placed, found.extend, tries)  # type: ignore[arg-type]
        distant.submit(job)
        for _ in range(2000):
            await asyncio.sleep(0.001)
            if during is not None:
                during(distant)
            if found and found[-1].kind in ("done", "failed", "cancelled", "expired"):
                break
        await asyncio.sleep(0.01)
        assert not distant.shares and not distant.costs and not distant._tasks, "nothing is left of it"
        assert all(stream.given_up for stream in placed.streams)

    asyncio.run(talk())
    return found


def order(**how: Any) -> Order:
    return Order([(["a"], None)], **how)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "AGAIN_SECONDS", 0.0)


def test_a_job_of_a_replica_that_dies_is_sent_again_whole() -> None:
    look = Report("preview", ((0,), "a look"), 0.4)
    placed = Placed([look, ConnectionError("it died")], [Report("", None, 0.1), DONE])
    found = heard(placed, order(shares=[0.3, 0.6], client="alice", weight=8.0))
    assert [event.kind for event in found] == ["preview", "done"] and found[-1].data == ["a picture"]
    assert len({event.seq for event in found}) == 2
    assert [sent.how["shares"] for sent in placed.sent] == [[0.3, 0.6], [0.6]], "what was shown is not shown again"
    assert {(sent.client, sent.weight) for sent in placed.sent} == {("alice", 8.0)}


def test_a_job_that_kills_every_replica_fails() -> None:
    deaths: list[Script] = [[RuntimeError("dead")] for _ in range(3)]
    found = heard(Placed(*deaths), order())
    assert [event.kind for event in found] == ["failed"] and "3 replicas were lost" in str(found[0].data)


def test_a_cancelled_job_gives_its_stream_up() -> None:
    placed = Placed([Report("", None, 0.1)])
    job = order()
    found = heard(placed, job, lambda distant: distant.cancel(job) if distant.shares.get(job) == 0.1 else None)
    assert [event.kind for event in found] == ["cancelled"]


def test_a_job_that_nobody_waits_for_any_more_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "GRACE_SECONDS", 0.01)
    found = heard(Placed([Report("", None, 0.1)]), order(deadline=time.perf_counter() + 0.05))
    assert [event.kind for event in found] == ["expired"], "though the replica hangs"


def test_costs_come_with_the_end() -> None:
    costs: list[dict[str, float]] = []

    async def talk() -> None:
        hub = Hub(GRAPH, elsewhere=lambda graph, publish: Replicas(graph, publish, Placed([DONE]), 3))  # type: ignore[arg-type]
        hub.on_end.append(lambda ticket, seconds: costs.append(seconds))
        event = await hub.outcome(hub.submit(order(), cost=1.0))
        assert event.kind == "done" and hub.runner.engine.spent["a"].seconds == 2.0
        hub.runner.stop()

    asyncio.run(talk())
    assert costs == [{"a": 2.0}]


def settings(folder: Path, **changes: Any) -> Settings:
    if not (folder / "dalle").is_dir():
        save_random_checkpoint(folder / "dalle")
    return Settings(recipes=(f"dalle={folder / 'dalle'}",), clip="", device="cpu", **changes)


def test_a_replica_lets_go_of_what_nobody_hears(tmp_path: Path) -> None:
    about = settings(tmp_path)
    replica, front = Replica(about, str(Path.cwd()), 1), Catalog.opened(about)
    model = front.default
    asked = model.first_request() if hasattr(model, "first_request") else model.painter.asked(_prompt(), 64, 1)
    starts = front.order(model, asked, model.usual).starts

    async def talk() -> None:
        stream = replica.paint(Sent(starts, asked, "", 1.0, 60.0, {"shares": [0.5]}))
        kinds = []
        async for told in stream:
            kinds.append(told.kind)
            if told.kind in ("preview", "done"):
                break
        await stream.aclose()  # type: ignore[attr-defined]
        assert replica.hub is not None and replica.hub.runner.engine is not None
        for _ in range(500):
            if not replica.hub.tickets and not replica.hub.runner.engine.jobs:
                break
            await asyncio.sleep(0.01)
        assert not replica.hub.tickets and not replica.costs
        replica.check_health()
        whole = [told async for told in replica.paint(Sent(starts, asked, "", 1.0, 60.0, {}))]
        assert whole[-1].kind == "done" and whole[-1].costs and not replica.costs
        await replica.hub.close()

    asyncio.run(talk())


def _prompt() -> Any:
    from pinxit.types import Prompt

    return Prompt("a red cube")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """Two replicas."""
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    folder = tmp_path_factory.mktemp("replicas")
    about = settings(folder, engine="ray", replicas=2)
    changes = {name: getattr(about, name) for name in ("recipes", "clip", "device", "engine", "replicas")}
    with running(folder / "serve", lambda: Catalog.opened(about), **changes) as found:
        yield found, folder / "dalle"


def processes() -> list[int]:
    return [pid for pid, words in below(os.getpid()) if words.startswith("ray::ServeReplica")]


def computed(pids: list[int]) -> int:
    """Ticks of the clock that they have computed."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total


def painted(url: str, seed: int, candidates: int = 24) -> str:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", timeout=600, max_retries=0) as client:
        found = client.images.generate(prompt="a red square", extra_body={"seed": seed, "candidates": candidates})
    assert found.data is not None and found.data[0].b64_json is not None
    return hashlib.sha256(base64.b64decode(found.data[0].b64_json)).hexdigest()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_of_two_replicas_is_killed_and_every_picture_comes_as_without_them(cluster: Any, tmp_path: Path) -> None:
    server, checkpoint = cluster
    seeds = range(8)
    with running(tmp_path, lambda: Catalog.opened(settings(checkpoint.parent))) as alone:
        expected = [painted(alone.url, seed) for seed in seeds]
    with ThreadPoolExecutor(len(seeds)) as crowd:
        coming = [crowd.submit(painted, server.url, seed) for seed in seeds]
        both = processes()
        assert len(both) == 2
        while not any(one.done() for one in coming):
            time.sleep(0.01)
        assert not all(one.done() for one in coming)
        os.kill(both[0], signal.SIGKILL)
        assert [one.result() for one in coming] == expected
    assert painted(server.url, 3) == expected[3]
    for _ in range(1200):
        if len(processes()) == 2 and server.context.hub.runner.alive == 2:
            break
        time.sleep(0.1)
    assert len(processes()) == 2 and both[0] not in processes(), "another one has taken its place"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_streams_show_partial_pictures_and_end_when_their_reader_leaves(cluster: Any) -> None:
    server, _ = cluster
    kinds = []
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", timeout=600, max_retries=0) as client:
        how: dict[str, Any] = {"prompt": "a red square", "stream": True, "partial_images": 2}
        for event in client.images.generate(**how, extra_body={"seed": 5, "candidates": 4}):
            kinds.append(event.type)
        stream = client.images.generate(**how, extra_body={"seed": 6, "candidates": 256})
        assert next(iter(stream)).type == "image_generation.partial_image"
        stream.close()
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    for _ in range(600):
        if not server.context.hub.tickets:
            break
        time.sleep(0.05)
    assert not server.context.hub.tickets
    time.sleep(1.0)  # the call under way ends
    before = computed(processes())
    time.sleep(4.0)
    assert computed(processes()) - before < 100, "256 candidates take longer: the replica has let go"
    assert threading.active_count() < 100

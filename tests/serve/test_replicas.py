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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from pinxit.errors import PinxitError
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.work import Event
from pinxit.pipelines.worker import FunctionWorker
from pinxit.serve import replicas
from pinxit.serve.catalog import Catalog, ServerJob
from pinxit.serve.dispatcher import Dispatcher
from pinxit.serve.replica import BEGUN, RemoteEvent, RemoteJob, Replica
from pinxit.serve.replicas import MOST_WAITS, RemoteEngine, Replicas
from pinxit.serve.settings import Settings
from pinxit.types import Prompt
from tests.processes import below
from tests.recipes.painters import save_random_checkpoint
from tests.serve.running import Running, running

GRAPH = Graph([Stage("a", FunctionWorker(lambda items: [0 for _ in items]))], {"r": ["a"]})
BEGUN_IT = RemoteEvent(BEGUN, None, 0.0)
DONE = RemoteEvent("done", ["a picture"], 1.0, {"a": 2.0})
Script = list[RemoteEvent | Exception]


class Stream:
    """What a replica answers: told one after the other; an error is raised, and after the last it hangs."""

    def __init__(self, script: Script) -> None:
        self.script, self.given_up = list(script), False

    def cancel(self) -> None:
        self.given_up = True

    async def __aiter__(self) -> AsyncIterator[RemoteEvent]:
        for one in self.script:
            await asyncio.sleep(0)
            if isinstance(one, Exception):
                raise one
            yield one
        await asyncio.sleep(60)


class ScriptedDeployment:
    """Replicas by script."""

    count = 2

    def __init__(self, *scripts: Script) -> None:
        self.scripts, self.sent, self.streams = list(scripts), list[RemoteJob](), list[Stream]()
        self.handle = self.paint = self

    def remote(self, sent: RemoteJob) -> Stream:
        self.sent.append(sent)
        self.streams.append(Stream(self.scripts.pop(0)))
        return self.streams[-1]


def heard(
    deployment: ScriptedDeployment, job: ServerJob, during: Callable[[RemoteEngine], Any] | None = None, tries: int = 3
) -> list[Event]:
    """All that is told of a job."""
    found: list[Event] = []

    async def talk() -> None:
        engine = RemoteEngine(GRAPH, deployment, found.extend, tries)  # type: ignore[arg-type]
        engine.submit(job)
        for _ in range(2000):
            await asyncio.sleep(0.001)
            if during is not None:
                during(engine)
            if found and found[-1].kind in ("done", "failed", "cancelled", "expired"):
                break
        await asyncio.sleep(0.01)
        assert not engine.shares and not engine.costs and not engine._tasks, "nothing is left of it"
        assert all(stream.given_up for stream in deployment.streams)

    asyncio.run(talk())
    return found


def job_of(**how: Any) -> ServerJob:
    return ServerJob([(["a"], None)], **how)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "RETRY_SECONDS", 0.0)


def test_a_job_of_a_replica_that_dies_is_sent_again_whole() -> None:
    look = RemoteEvent("preview", ((0,), "a look"), 0.4)
    deployment = ScriptedDeployment([look, ConnectionError("it died")], [RemoteEvent("", None, 0.1), DONE])
    found = heard(deployment, job_of(shares=[0.3, 0.6], client="alice", weight=8.0))
    assert [event.kind for event in found] == ["preview", "done"] and found[-1].data == ["a picture"]
    assert len({event.seq for event in found}) == 2
    assert [sent.options["shares"] for sent in deployment.sent] == [[0.3, 0.6], [0.6]], (
        "what was shown is not shown again"
    )
    assert {(sent.client, sent.weight) for sent in deployment.sent} == {("alice", 8.0)}


def test_a_job_that_kills_every_replica_fails() -> None:
    deaths: list[Script] = [[BEGUN_IT, RuntimeError("dead")] for _ in range(3)]
    found = heard(ScriptedDeployment(*deaths), job_of())
    assert [event.kind for event in found] == ["failed"] and "3 replicas died while painting it" in str(found[0].data)


def test_replicas_that_die_of_another_job_do_not_count_against_one_that_waited_there() -> None:
    waited: Script = [RemoteEvent("", None, 0.0), RuntimeError("another job killed it")]
    deaths: list[Script] = [waited, waited, [BEGUN_IT, RuntimeError("dead")], waited]
    found = heard(ScriptedDeployment(*deaths, [BEGUN_IT, DONE]), job_of(), tries=2)
    assert [event.kind for event in found] == ["done"] and found[0].data == DONE.data
    found = heard(ScriptedDeployment(*[waited] * MOST_WAITS), job_of(), tries=2)
    assert [event.kind for event in found] == ["failed"] and "30 replicas died while it waited" in str(found[0].data)


@pytest.mark.parametrize("error", [None, PinxitError("the disk is full.")])
def test_a_job_is_counted_when_a_replica_has_begun_it(error: Exception | None) -> None:
    counted = list[int]()
    died: Script = [RemoteEvent("", None, 0.0), ConnectionError("it died while the job was waiting")]
    scripted, job = ScriptedDeployment(died, [RemoteEvent("", None, 0.5), DONE]), job_of()

    def count() -> Future[None]:
        future = Future[None]()
        counted.append(len(scripted.sent))
        future.set_exception(error) if error else future.set_result(None)
        return future

    job.on_begin = count
    (event,) = heard(scripted, job)
    assert event.kind == ("failed" if error else "done") and event.data is (error or DONE.data)
    assert counted == [2], "by the second replica, once"


def test_a_cancelled_job_gives_its_stream_up() -> None:
    deployment = ScriptedDeployment([RemoteEvent("", None, 0.1)])
    job = job_of()
    found = heard(deployment, job, lambda engine: engine.cancel(job) if engine.shares.get(job) == 0.1 else None)
    assert [event.kind for event in found] == ["cancelled"]


def test_a_job_that_is_cancelled_at_once_leaves_nothing() -> None:
    async def talk() -> None:
        found: list[Event] = []
        scripted: Any = ScriptedDeployment([DONE])
        engine, job = RemoteEngine(GRAPH, scripted, found.extend, 3), job_of()
        engine.submit(job)
        engine.cancel(job)
        await asyncio.sleep(0.01)
        assert [event.kind for event in found] == ["cancelled"] and not scripted.sent
        assert not engine.shares and not engine._tasks

    asyncio.run(talk())


def test_a_job_that_nobody_waits_for_any_more_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "GRACE_SECONDS", 0.01)
    found = heard(ScriptedDeployment([RemoteEvent("", None, 0.1)]), job_of(deadline=time.perf_counter() + 0.05))
    assert [event.kind for event in found] == ["expired"], "though the replica hangs"


def test_costs_come_with_the_end() -> None:
    costs: list[dict[str, float]] = []

    async def talk() -> None:
        scripted: Any = ScriptedDeployment([DONE])
        dispatcher = Dispatcher(GRAPH, make_runner=lambda graph, publish: Replicas(graph, publish, scripted, 3))
        dispatcher.on_end.append(lambda handle, seconds: costs.append(seconds))
        event = await dispatcher.outcome(dispatcher.submit(job_of(), cost=1.0))
        assert event.kind == "done" and dispatcher.runner.engine.usage["a"].seconds == 2.0
        dispatcher.runner.stop()

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
    asked = model.painter.asked(Prompt("a red square"), 64, 1)
    starts = front.job(model, asked, model.default_size).starts

    async def talk() -> None:
        stream = replica.paint(RemoteJob(starts, asked, "", 1.0, 60.0, {"shares": [0.5]}))
        kinds = []
        async for told in stream:
            kinds.append(told.kind)
            if told.kind in ("preview", "done"):
                break
        await stream.aclose()  # type: ignore[attr-defined]
        assert replica.dispatcher is not None and replica.dispatcher.runner.engine is not None
        for _ in range(500):
            if not replica.dispatcher.handles and not replica.dispatcher.runner.engine.jobs:
                break
            await asyncio.sleep(0.01)
        assert not replica.dispatcher.handles and not replica.costs
        replica.check_health()
        whole = [told async for told in replica.paint(RemoteJob(starts, asked, "", 1.0, 60.0, {}))]
        assert [told.kind for told in whole if told.kind][:1] == [BEGUN] and whole[0].progress == 0.0
        assert whole[-1].kind == "done" and whole[-1].costs and not replica.costs
        await replica.dispatcher.close()

    asyncio.run(talk())


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
        if len(processes()) == 2 and server.context.dispatcher.runner.alive == 2:
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
        if not server.context.dispatcher.handles:
            break
        time.sleep(0.05)
    assert not server.context.dispatcher.handles
    time.sleep(1.0)  # the call under way ends
    before = computed(processes())
    time.sleep(4.0)
    assert computed(processes()) - before < 100, "256 candidates take longer: the replica has let go"
    assert threading.active_count() < 100

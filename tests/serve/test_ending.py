"""How a server ends: nobody is cut off in silence, and what is kept is left to the next process."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from pinxit.errors import PinxitError
from pinxit.serve import app
from pinxit.serve.errors import RefusedError
from pinxit.serve.server import make_server
from pinxit.serve.settings import Settings
from pinxit.serve.time_limit import TimeLimit
from tests.serve.running import Running, catalog, running

LONG: dict[str, Any] = {"candidates": 5_000}
KEPT = {"prompt": "a red square", "seed": 3, "candidates": 2}


class Waiting:
    """Clients of both kinds, each in a thread, and what they are told in the end."""

    def __init__(self, server: Running, **asked: Any) -> None:
        self.server, self.asked = server, asked
        self.client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=1e6)
        self.told: dict[str, Exception] = {}
        self.threads = [threading.Thread(target=self._ask, args=(one,)) for one in ("plain", "stream")]
        for thread in self.threads:
            thread.start()

    @classmethod
    def for_long(cls, server: Running) -> Waiting:
        """Both for a job that takes long."""
        found = cls(server, **LONG)
        while len(server.context.dispatcher.handles) < 2:
            assert not found.told, found.told
            time.sleep(0.02)
        return found

    def _ask(self, kind: str) -> None:
        try:
            stream = kind == "stream"
            body = {name: value for name, value in self.asked.items() if stream or name != "partial_images"}
            found: Any = self.client.images.generate(prompt="a cat", stream=stream, extra_body=body)
            list(found)
        except Exception as error:
            self.told[kind] = error

    def joined(self) -> dict[str, Exception]:
        for thread in self.threads:
            thread.join(60)
        return self.told


def check_told(told: dict[str, Exception]) -> None:
    plain, stream = told["plain"], told["stream"]
    assert isinstance(plain, openai.InternalServerError) and plain.status_code == 503
    assert isinstance(stream, openai.APIError) and not isinstance(stream, openai.APIConnectionError)
    assert all("shut down before the request was done" in str(error) for error in told.values())


def test_whoever_waits_when_time_is_up_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path, most_candidates=5_000, budget_seconds=1e9, drain_seconds=4.0) as server:
        waiting = Waiting.for_long(server)
        server.context.drain()
        refused = server.post("/v1/images/generations", json=KEPT)
        assert refused.status_code == 503 and refused.headers["retry-after-ms"] == "2000"
        server.server.should_exit = True
        told = waiting.joined()
    check_told(told)


@pytest.mark.parametrize(("stuck_at", "partials"), [("prompt", 0), ("painted", 0), ("painted", 3), ("file", 0)])
def test_whoever_waits_for_a_check_or_a_file_is_told_so_too(tmp_path: Path, stuck_at: str, partials: int) -> None:
    """The engine has not begun such a job, or has ended it."""
    stuck, done = threading.Semaphore(0), threading.Event()

    def stick(*_: Any) -> None:
        stuck.release()
        done.wait(60)

    with running(tmp_path, content_seconds=60.0) as server:
        try:
            context: Any = server.context
            context.policy.hook = lambda content: stick() if content.kind == stuck_at else None
            if stuck_at == "file":
                context.file = stick
            waiting = Waiting(server, candidates=1, partial_images=partials)
            assert all(stuck.acquire(timeout=60) for _ in range(2))
            server.server.handle_exit(signal.SIGTERM, None)
            check_told(waiting.joined())
        finally:
            done.set()


def test_what_begins_when_time_is_up_is_ended_at_once() -> None:
    async def play() -> None:
        limit = TimeLimit()
        limit.end()
        async with limit.within():
            await asyncio.sleep(1)

    with pytest.raises(RefusedError, match="shut down before the request was done"):
        asyncio.run(play())


def test_an_engine_that_stops_leaves_jobs_to_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error of the device nothing more can be computed: clients are told, and what is kept stays queued."""
    went: list[Any] = []
    with running(tmp_path, most_candidates=5_000, budget_seconds=1e9) as server:
        monkeypatch.setattr("pinxit.serve.records.finish", lambda *about, **more: went.append(about))
        waiting = Waiting.for_long(server)
        worker: Any = server.context.catalog.graph["dalle/tokens"].worker

        def failing(states: Any) -> None:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

        (job,) = server.post("/api/jobs", json=KEPT).json()["jobs"]
        while len(server.context.dispatcher.handles) < 3:
            time.sleep(0.02)
        worker.step = failing
        told = waiting.joined()
        assert {"plain", "stream"} == told.keys()
        assert all("the engine has stopped" in str(error) for error in told.values())
        assert server.server.should_exit and isinstance(server.server.app.state.failed, torch.AcceleratorError)
    assert not went
    monkeypatch.undo()
    with running(tmp_path) as server:
        while (found := server.get(f"/api/jobs/{job['id']}").json())["state"] == "queued":
            time.sleep(0.05)
        assert found["state"] == "done" and len(found["pictures"]) == 2


@pytest.mark.parametrize("wrong", ["a file", "a folder of which urls is a file"])
def test_a_server_that_cannot_start_says_why_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    data = tmp_path / "data"
    if wrong == "a file":
        data.write_text("")
    else:
        data.mkdir()
        (data / "urls").write_text("")
    server = make_server(Settings(port=0, data=str(data)), catalog)
    thread = threading.Thread(target=server.run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and isinstance(server.app.state.failed, PinxitError)
    (said,) = [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")]
    assert str(data) in said.getMessage() and not said.exc_info


def test_a_disk_that_fails_ends_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old pictures are removed beside what is painted."""
    swept, again = [], threading.Event()

    def sweep(files: Any) -> None:
        swept.append(files)
        if len(swept) < 3:
            raise OSError(5, "Input/output error")
        again.set()

    monkeypatch.setattr("pinxit.serve.url_files.UrlFiles.sweep", sweep)
    monkeypatch.setattr(app, "CLEANUP_SECONDS", 0.05)
    with running(tmp_path) as server:
        assert again.wait(60) and server.get("/live").status_code == 200
        assert not server.server.should_exit

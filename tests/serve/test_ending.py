"""How a server ends: nobody is cut off in silence, and what is kept is left to the next process."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from pinxit.serve import app
from tests.serve.running import Running, running

LONG: dict[str, Any] = {"candidates": 5_000}
KEPT = {"prompt": "a red square", "seed": 3, "candidates": 2}


class Waiting:
    """Clients of both kinds, each in a thread, and what they are told in the end."""

    def __init__(self, server: Running) -> None:
        self.client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=1e6)
        self.told: dict[str, Exception] = {}
        self.threads = [threading.Thread(target=self._ask, args=(one,)) for one in ("plain", "stream")]
        for thread in self.threads:
            thread.start()
        while len(server.context.dispatcher.handles) < 2:
            assert not self.told, self.told
            time.sleep(0.02)

    def _ask(self, kind: str) -> None:
        try:
            found: Any = self.client.images.generate(prompt="a cat", stream=kind == "stream", extra_body=LONG)
            list(found)
        except Exception as error:
            self.told[kind] = error

    def joined(self) -> dict[str, Exception]:
        for thread in self.threads:
            thread.join(60)
        return self.told


def test_whoever_waits_when_time_is_up_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path, most_candidates=5_000, budget_seconds=1e9, drain_seconds=4.0) as server:
        waiting = Waiting(server)
        server.context.drain()
        refused = server.post("/v1/images/generations", json=KEPT)
        assert refused.status_code == 503 and refused.headers["retry-after-ms"] == "2000"
        server.server.should_exit = True
        told = waiting.joined()
    assert isinstance(told["plain"], openai.InternalServerError) and told["plain"].status_code == 503
    assert isinstance(told["stream"], openai.APIError) and not isinstance(told["stream"], openai.APIConnectionError)
    assert all("ended before it was done" in str(error) for error in told.values())


def test_an_engine_that_stops_leaves_jobs_to_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error of the device nothing more can be computed: clients are told, and what is kept stays queued."""
    went: list[Any] = []
    with running(tmp_path, most_candidates=5_000, budget_seconds=1e9) as server:
        monkeypatch.setattr("pinxit.serve.records.finish", lambda *about, **more: went.append(about))
        waiting = Waiting(server)
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


def test_a_disk_that_fails_ends_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old pictures are removed beside what is painted."""
    swept, again = [], threading.Event()

    def sweep(url_files: Any) -> None:
        swept.append(url_files)
        if len(swept) < 3:
            raise OSError(5, "Input/output error")
        again.set()

    monkeypatch.setattr("pinxit.serve.url_files.Urls.sweep", sweep)
    monkeypatch.setattr(app, "CLEANUP_SECONDS", 0.05)
    with running(tmp_path) as server:
        assert again.wait(60) and server.get("/live").status_code == 200
        assert not server.server.should_exit

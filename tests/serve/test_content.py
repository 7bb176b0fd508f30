"""What a check of one's own refuses is not painted and not shown; one that fails lets nothing through."""

from __future__ import annotations

import asyncio
import base64
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
from PIL import Image

from pinxit.errors import UsageError
from pinxit.pictures import png_bytes
from pinxit.serve.content import CODE, Content, ContentPolicy
from pinxit.serve.errors import RefusedError
from pinxit.types import Ranked
from tests.serve import hooks
from tests.serve.running import Running, running
from tests.serve.test_jobs import ended

GREY = np.full((32, 32, 3), 127, np.uint8)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("judged"), content_hook="tests.serve.hooks:judge") as found:
        yield found


@pytest.fixture
def client(judged: Running) -> Iterator[openai.OpenAI]:
    hooks.HIDDEN.clear()
    with openai.OpenAI(base_url=f"{judged.url}/v1", api_key="any", timeout=60, max_retries=0) as found:
        yield found


def pixels(b64: str | None) -> bytes:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64 or "")))).tobytes()


def refused(client: openai.OpenAI, prompt: str, said: str, **how: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as error:
        client.images.generate(prompt=prompt, **how)
    assert error.value.code == CODE and "secret" not in error.value.response.text


def test_sentences_are_refused_before_anything_is_painted(judged: Running, client: openai.OpenAI) -> None:
    calls = judged.context.dispatcher.runner.engine.usage["dalle/tokens"].calls
    refused(client, "a forbidden thing", "do not paint that")
    refused(client, "it breaks", "could not be checked")
    answer = judged.post("/api/jobs", json={"prompt": "forbidden"})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == CODE
    assert judged.context.dispatcher.runner.engine.usage["dalle/tokens"].calls == calls
    assert client.images.generate(prompt="a cat", extra_body={"candidates": 1}).data


def test_uploads_are_looked_at(judged: Running, client: openai.OpenAI) -> None:
    hole = np.full((32, 32, 4), 255, np.uint8)
    hole[:8, :, 3] = 0
    how: dict[str, Any] = {"mask": _rgba(hole), "prompt": "a cat", "extra_body": {"candidates": 1}}
    with pytest.raises(openai.BadRequestError, match="not shown here") as error:
        client.images.edit(image=png_bytes(GREY * 0 + 255, {}), **how)
    assert error.value.code == CODE and error.value.param == "image"
    assert client.images.edit(image=png_bytes(GREY, {}), **how).data


def _rgba(picture: Any) -> bytes:
    found = io.BytesIO()
    Image.fromarray(picture).save(found, "png")
    return found.getvalue()


def test_what_was_painted_is_left_out_and_said(
    judged: Running, client: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    how: dict[str, Any] = {"prompt": "two blue stars", "n": 2}
    both = client.images.generate(**how, extra_body={"seed": 5, "candidates": 2}).data or []
    hooks.HIDDEN.add(pixels(both[0].b64_json))
    found = client.images.generate(**how, extra_body={"seed": 5, "candidates": 2})
    assert [one.b64_json for one in found.data or []] == [both[1].b64_json]
    assert found.model_extra is not None and "1 of the pictures may not be shown" in found.model_extra["warnings"][-1]
    (job,) = judged.post("/api/jobs", json={"prompt": how["prompt"], "seed": 5, "candidates": 2}).json()["jobs"]
    done = ended(judged, job["id"])
    assert done["state"] == "done" and len(done["pictures"]) == 1 and "may not be shown" in done["error"]
    hooks.HIDDEN.add(pixels(both[1].b64_json))
    refused(client, how["prompt"], "not shown here", n=2, extra_body={"seed": 5, "candidates": 2, "user": "b"})
    (job,) = judged.post("/api/jobs", json={"prompt": how["prompt"], "seed": 5, "candidates": 2}).json()["jobs"]
    done = ended(judged, job["id"])
    assert done["state"] == "failed" and "not shown here" in done["error"] and not done["pictures"]
    assert "not shown here" not in caplog.text, "a hook's sentence may quote the prompt"


def test_a_stream_shows_no_look_and_no_picture_that_is_refused(client: openai.OpenAI) -> None:
    how: dict[str, Any] = {"prompt": "a red square", "stream": True, "partial_images": 3}
    body = {"seed": 8, "candidates": 1}
    events = list(client.images.generate(**how, extra_body=body))
    assert len(events) >= 2
    hooks.HIDDEN.update(pixels(one.b64_json) for one in events[:-1])
    again = list(client.images.generate(**how, extra_body=body | {"user": "b"}))
    assert [one.type for one in again] == ["image_generation.completed"]
    hooks.HIDDEN.add(pixels(events[-1].b64_json))
    with pytest.raises(openai.APIError, match="not shown here") as error:
        list(client.images.generate(**how, extra_body=body | {"user": "c"}))
    assert error.value.code == CODE


def quits(content: Content) -> None:
    """As functions do that were written for the command line."""
    sys.exit(3)


def stops(content: Content) -> None:
    next(iter(()))


@pytest.mark.parametrize(
    "hook", [lambda content: True, lambda content: "", lambda content: time.sleep(5), lambda: None, quits, stops]
)
def test_a_hook_that_fails_lets_nothing_through(hook: Any) -> None:
    async def play() -> None:
        policy = ContentPolicy(hook, 0.2)
        with pytest.raises(RefusedError, match="could not be checked") as error:
            await policy.check_prompt("a cat")
        assert (error.value.status, error.value.code) == (400, CODE)
        assert not await policy.shows(GREY)
        with pytest.raises(RefusedError):
            await policy.allowed([Ranked(GREY, 0, 0, 0.0)])

    asyncio.run(play())


def test_waiting_for_a_thread_is_not_the_hooks_time() -> None:
    async def play() -> None:
        policy = ContentPolicy(lambda content: time.sleep(0.1), 2.0)
        await asyncio.gather(*(policy.check_prompt("a cat") for _ in range(50)))  # 2.5 s in two threads

    asyncio.run(play())


def test_a_thread_that_cannot_be_started_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def play() -> None:
        policy = ContentPolicy(lambda content: None, 1.0)
        with monkeypatch.context() as while_busy:
            while_busy.setattr(threading.Thread, "start", none_left)
            for _ in range(3):
                with pytest.raises(RefusedError, match="could not be checked"):
                    await policy.check_prompt("a cat")
        await policy.check_prompt("a cat")

    asyncio.run(play())


def test_a_kept_job_waits_for_a_hook_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its first call may after a restart: only a refusal ends the job; until then it can be cancelled."""
    with running(tmp_path) as server:
        asked: list[dict[str, Any]] = [
            {"prompt": prompt, "candidates": 200} for prompt in ("forbidden", "a cat", "a dog")
        ]
        names = [server.post("/api/jobs", json=one).json()["jobs"][0]["id"] for one in asked]
    loaded, failed = threading.Event(), list[str]()

    def loading(content: Content) -> str | None:
        if loaded.is_set():
            return hooks.judge(content)
        failed.append(content.text)
        raise MemoryError

    monkeypatch.setattr("pinxit.serve.content._import_hook", lambda spec: loading)
    monkeypatch.setattr("pinxit.serve.job_requests.RECHECK_SECONDS", 0.02)
    with running(tmp_path, content_hook="any") as server:
        while any(failed.count(one["prompt"]) < 2 for one in asked):
            time.sleep(0.02)
        found = [server.get(f"/api/jobs/{name}").json() for name in names]
        assert [(one["state"], one["error"]) for one in found] == [("queued", None)] * 3
        assert server.delete(f"/api/jobs/{names[2]}").json()["jobs"][0]["state"] == "cancelled"
        loaded.set()
        ends = [ended(server, name) for name in names]
        assert [one["state"] for one in ends] == ["failed", "done", "cancelled"]
        assert ends[0]["error"] == "we do not paint that here."


def test_a_start_waits_for_one_check_that_fails_and_not_for_one_of_every_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As each may take `content_seconds`, and the server answers nobody before."""
    with running(tmp_path) as server:
        for prompt in ("a cat", "a dog", "a horse"):
            server.post("/api/jobs", json={"prompt": prompt, "candidates": 200})
    asked: list[str] = []

    def failing(content: Content) -> str | None:
        asked.append(content.text)
        raise MemoryError

    monkeypatch.setattr("pinxit.serve.content._import_hook", lambda spec: failing)
    monkeypatch.setattr("pinxit.serve.job_requests.RECHECK_SECONDS", 600.0)
    with running(tmp_path, content_hook="any") as server:
        assert [one["state"] for one in server.get("/api/jobs").json()["jobs"]] == ["queued"] * 3
        assert asked == ["a cat"]


def test_a_hook_that_hangs_does_not_keep_the_process() -> None:
    code = """if True:
        import asyncio, time
        from pinxit.serve.content import ContentPolicy
        from pinxit.serve.errors import RefusedError
        async def play():
            policy = ContentPolicy(lambda content: time.sleep(3600), 0.1)
            for _ in range(3):  # two hang; the third waits for a place, and no longer than they did
                try:
                    await policy.check_prompt("a cat")
                except RefusedError:
                    print("refused", flush=True)
        asyncio.run(play())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["refused"] * 3


def test_without_a_hook_everything_passes() -> None:
    async def play() -> None:
        policy = ContentPolicy()
        await policy.check_prompt("a cat")
        assert await policy.shows(GREY) and len(await policy.allowed([Ranked(GREY, 0, 0, 0.0)])) == 1

    asyncio.run(play())


@pytest.mark.parametrize(
    ("spec", "said"),
    [("hooks", "not written module:function"), ("tests.serve.nowhere:f", "cannot be imported"),
     ("tests.serve.hooks:other", "has no other"), ("tests.serve.hooks:NEITHER", "no function")],
)  # fmt: skip
def test_a_hook_that_cannot_be_found_is_said(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ContentPolicy.opened(spec, 1.0)
    assert ContentPolicy.opened("tests.serve.hooks:judge", 1.0).hook is not None
    assert Content("prompt").picture is None


def test_a_stream_is_kept_alive_while_its_pictures_are_checked(
    client: openai.OpenAI, judged: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinxit.serve.feed.HEARTBEAT_SECONDS", 0.02)
    go_on, check = threading.Event(), judged.context.policy.allowed

    async def slow(painted: Any) -> Any:
        await asyncio.to_thread(go_on.wait, 60)
        return await check(painted)

    monkeypatch.setattr(judged.context.policy, "allowed", slow)
    body = {"prompt": "a red square", "stream": True, "candidates": 1, "seed": 61}
    with httpx.stream("POST", f"{judged.url}/v1/images/generations", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line) == ": keep-alive"
        while not any(handle.outcome for _, handle in judged.context.dispatcher.by_key.values() if handle.listeners):
            assert next(line for line in lines if line) == ": keep-alive"
        for _ in range(3):  # after the end of the job, too
            assert next(line for line in lines if line) == ": keep-alive"
        go_on.set()
        assert [line for line in lines if line.startswith("event: ")] == ["event: image_generation.completed"]

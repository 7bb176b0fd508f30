"""The real OpenAI client against a server of ours, unmodified: what it is promised, it gets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx2 as httpx
import numpy as np
import openai
import pytest
from PIL import Image

from pinxit.pictures import png_bytes, read_metadata
from pinxit.serve.catalog import ServerJob
from pinxit.serve.uploads import Upload
from tests.serve.running import Running

PROMPT = "a red square"


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", timeout=60, max_retries=0) as found:
        yield found


def opened(b64: str | None) -> Image.Image:
    assert b64 is not None
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_generate_gives_pictures_best_first(client: openai.OpenAI) -> None:
    found = client.images.generate(prompt=PROMPT, n=3, model="dalle", extra_body={"seed": 5, "candidates": 4})
    assert found.data is not None and len(found.data) == 3
    scores = [one.model_extra["score"] for one in found.data if one.model_extra]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3
    pictures = [opened(one.b64_json) for one in found.data]
    assert {one.size for one in pictures} == {(32, 32)} and {one.format for one in pictures} == {"PNG"}
    assert found.size == "32x32" and found.output_format == "png" and found.background == "opaque"
    assert found.usage is not None and found.usage.output_tokens == 4 * 16
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens > 64


def test_a_url_leads_to_the_same_picture_as_base64(client: openai.OpenAI) -> None:
    how = {"extra_body": {"seed": 9, "candidates": 1}}
    as_text = client.images.generate(prompt=PROMPT, response_format="b64_json", **how)  # type: ignore[call-overload]
    as_url = client.images.generate(prompt=PROMPT, response_format="url", **how)  # type: ignore[call-overload]
    assert as_url.data[0].b64_json is None
    answer = httpx.get(as_url.data[0].url)
    assert answer.headers["content-type"] == "image/png" and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == base64.b64decode(as_text.data[0].b64_json)


def test_older_programs_get_urls_and_name_models_of_others(client: openai.OpenAI) -> None:
    found = client.images.generate(prompt=PROMPT, model="dall-e-2", size="256x256", extra_body={"candidates": 1})
    assert found.data is not None and found.data[0].url is not None
    assert Image.open(io.BytesIO(httpx.get(found.data[0].url).content)).size == (256, 256)


@pytest.mark.parametrize("prompt", [PROMPT, "三个绿色的三角形, café", "红" * 32_000, "a" + "\x01" * 31_999])
@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_formats_tell_how_they_were_made(client: openai.OpenAI, form: str, prompt: str) -> None:
    how = {} if form == "png" else {"output_compression": 90}
    found = client.images.generate(  # type: ignore[call-overload]
        prompt=prompt, output_format=form, **how, extra_body={"seed": 3, "candidates": 1}
    )
    picture = opened(found.data[0].b64_json)
    assert picture.format == form.upper()
    told = picture.info["pinxit"] if form == "png" else picture.getexif()[0x010E].encode("latin-1").decode()
    facts = json.loads(told)
    assert facts["seed"] == 3 and facts["recipe"] == "dalle"
    if form == "jpeg" and len(prompt) == 32_000:  # a JPEG's EXIF has at most 64 kB: the end is left out
        assert 64_990 < len(told.encode()) <= 65_000
        assert facts["prompt"].endswith("…") and prompt.startswith(facts["prompt"][:-1])
    else:
        assert facts["prompt"] == prompt


def test_streaming_shows_partial_pictures_and_then_each_picture(client: openai.OpenAI) -> None:
    kinds, lasts = [], []
    body = {"seed": 5, "candidates": 4}
    for event in client.images.generate(prompt=PROMPT, n=2, stream=True, partial_images=3, extra_body=body):
        kinds.append(event.type)
        lasts.append(event)
    early = len(kinds) - 2  # a picture of sixteen codes is drawn in four steps: there is little to see on the way
    assert 2 <= early <= 3
    assert kinds == ["image_generation.partial_image"] * early + ["image_generation.completed"] * 2
    assert [getattr(one, "partial_image_index", None) for one in lasts[:early]] == list(range(early))
    gray = [(np.asarray(opened(one.b64_json)) == 128).all(axis=2).mean() for one in lasts]
    assert gray[:early] == sorted(gray[:early], reverse=True)  # rows are painted from top to bottom
    assert gray[0] > gray[1] > 0.05 > gray[early]
    whole = client.images.generate(prompt=PROMPT, n=2, extra_body=body)
    assert whole.data is not None
    assert [one.b64_json for one in lasts[early:]] == [one.b64_json for one in whole.data]


def test_no_partial_images_is_one_event(client: openai.OpenAI) -> None:
    found = list(client.images.generate(prompt=PROMPT, stream=True, partial_images=0, extra_body={"candidates": 1}))
    assert [one.type for one in found] == ["image_generation.completed"]


def test_async_client_and_many_at_once(server: Running) -> None:
    """Each gets its own picture, whatever is painted beside it."""

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            calls = [client.images.generate(prompt=PROMPT, extra_body={"seed": k % 4, "candidates": 1 + k % 3})
                     for k in range(12)]  # fmt: skip
            found = await asyncio.gather(*calls)
            streamed = await client.images.generate(prompt=PROMPT, stream=True, extra_body={"seed": 0, "candidates": 1})
            last = [event async for event in streamed][-1]
        return [hashlib.sha256((one.data or [])[0].b64_json.encode()).hexdigest() for one in found] + [  # type: ignore[union-attr]
            hashlib.sha256(last.b64_json.encode()).hexdigest()
        ]

    digests = asyncio.run(all_of_them())
    assert digests[0] == digests[12]  # seed 0, one candidate: alone as in the crowd
    assert len(set(digests[:12])) == 12  # (seed, candidates) differ in all


def test_refusals_are_the_clients_own_errors(client: openai.OpenAI, server: Running) -> None:
    with pytest.raises(openai.BadRequestError) as many:
        client.images.generate(prompt=PROMPT, n=99)
    assert many.value.param == "n" and many.value.code == "invalid_value" and many.value.request_id
    with pytest.raises(openai.BadRequestError, match="no setting 'wishes' here") as strange:
        client.images.generate(prompt=PROMPT, extra_body={"wishes": 3})
    assert strange.value.param == "wishes"
    with pytest.raises(openai.BadRequestError, match="temperature must be"):
        client.images.generate(prompt=PROMPT, extra_body={"temperature": -1})
    with pytest.raises(openai.BadRequestError, match="square"):
        client.images.generate(prompt=PROMPT, size="1536x1024")
    with pytest.raises(openai.BadRequestError, match="empty"):
        client.images.generate(prompt="  ")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(prompt=PROMPT, model="nobody")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):  # before the first byte, not inside the stream
        client.images.generate(prompt=PROMPT, stream=True, size="1536x1024")


@pytest.mark.parametrize("name", ["n", "seed", "candidates", "partial_images", "output_compression"])
def test_true_is_no_number(server: Running, name: str) -> None:
    error = server.post("/v1/images/generations", json={"prompt": PROMPT, name: True}).json()["error"]
    assert (error["param"], error["message"]) == (name, f"{name}: send a number, not true or false.")


def test_a_client_that_does_not_wait_is_refused_at_once(client: openai.OpenAI, server: Running) -> None:
    before = server.context.admission.refused.get("timeout", 0)
    with pytest.raises(openai.RateLimitError) as busy:
        client.with_options(timeout=0.0011).images.generate(
            prompt=PROMPT, extra_headers={"x-stainless-read-timeout": "0.0001"}, timeout=30
        )
    assert server.context.admission.refused["timeout"] == before + 1
    assert busy.value.response.headers["x-should-retry"] == "false"  # it would take as long again
    assert "retry-after-ms" not in busy.value.response.headers and "try again" not in busy.value.message


def test_a_timeout_lets_the_job_go(client: openai.OpenAI, server: Running) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.images.generate(
            prompt=PROMPT,
            extra_body={"candidates": 256},
            extra_headers={"x-stainless-read-timeout": "900"},
            timeout=httpx.Timeout(60, read=0.1),
        )
    for _ in range(100):
        if not server.context.dispatcher.handles:
            break
        asyncio.run(asyncio.sleep(0.05))
    assert not server.context.dispatcher.handles
    assert server.context.dispatcher.runner.engine.started == []


def test_equal_requests_with_a_seed_are_one_job(server: Running) -> None:
    """A retry of the client's carries no key."""

    async def both() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            calls = [client.images.generate(prompt="twice", extra_body={"seed": 1, "candidates": 8}) for _ in range(2)]
            one, other = await asyncio.gather(*calls)
            assert (one.data or [])[0].b64_json == (other.data or [])[0].b64_json

    ends = server.context.metrics.ends
    before = ends["dalle", "done"]
    asyncio.run(both())
    assert ends["dalle", "done"] == before + 1


def test_an_idempotency_key_is_one_request(client: openai.OpenAI) -> None:
    key = {"Idempotency-Key": "k1"}
    one, other = (client.images.generate(prompt=PROMPT, extra_headers=key, extra_body={"candidates": 1}) for _ in "ab")
    assert one.data is not None and other.data is not None
    assert one.data[0].model_extra == other.data[0].model_extra  # drawn seed included
    assert one.data[0].b64_json == other.data[0].b64_json  # what its metadata tell of the seed, too
    with pytest.raises(openai.ConflictError):
        client.images.generate(prompt="another", extra_headers=key)


def test_retries_of_the_client_meet_a_server_that_says_when(server: Running) -> None:
    """A busy answer, obeyed by the client to the millisecond it names, and then the picture."""
    admission, calls = server.context.admission, []
    admit = admission.admit

    def once_busy(*orders: ServerJob, client_timeout: float = 0.0) -> float:
        calls.append(orders)
        if len(calls) == 1:
            raise admission._refused("backlog", 0.3)
        return admit(*orders, client_timeout=client_timeout)

    admission.admit = once_busy  # type: ignore[method-assign]
    try:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=1) as client:
            assert client.images.generate(prompt=PROMPT, extra_body={"candidates": 1}).data
    finally:
        admission.admit = admit  # type: ignore[method-assign]
    assert len(calls) == 2


def test_clip_is_asked_with_a_deadline_and_within_the_budget(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    admission, engine = server.context.admission, server.context.dispatcher.runner.engine
    picture = "data:image/png;base64," + base64.b64encode(png_bytes(np.zeros((32, 32, 3), np.uint8), {})).decode()
    asks = [("/v1/embeddings", {"input": "a cat"}), ("/api/classify", {"image": picture, "labels": ["cat"]}),
            ("/api/search", {"image": picture})]  # fmt: skip
    (job,) = server.post("/api/jobs", json={"prompt": "to be found", "candidates": 1}).json()["jobs"]
    while server.get(f"/api/jobs/{job['id']}").json()["state"] == "queued":
        time.sleep(0.02)
    for path, body in asks:
        assert server.post(path, json=body).status_code == 200
        answer = server.post(path, json=body, headers={"x-stainless-read-timeout": "0.000001"})
        assert answer.status_code == 429 and answer.json()["error"]["code"] == "rate_limit_exceeded", answer.text
        monkeypatch.setattr(admission, "admit", lambda *orders, **how: 0.0)
        late = server.post(path, json=body, headers={"x-stainless-read-timeout": "0.000001"})
        monkeypatch.undo()
        assert late.status_code == 504 and late.json()["error"]["code"] == "deadline", late.text
    assert not engine.jobs and not server.context.dispatcher.handles


def test_models_and_embeddings(client: openai.OpenAI, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.id for one in client.models.list()] == ["dalle", "other", "clip"]
    assert client.models.retrieve("other").id == "other"
    monkeypatch.setitem(server.context.catalog.aliases, "owner/name", "other")
    assert client.models.retrieve("owner/name").id == "other"
    assert server.get("/v1/models/").json() == server.get("/v1/models").json()
    found = client.embeddings.create(model="clip", input=["a red square", "two blue stars", "a red square"])
    rows = np.array([one.embedding for one in found.data])
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.array_equal(rows[0], rows[2]) and not np.allclose(rows[0], rows[1])
    plain = client.embeddings.create(model="clip", input="a red square", encoding_format="float")
    assert np.allclose(plain.data[0].embedding, rows[0], atol=1e-6)
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture, "png")
    sent = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    vector = client.embeddings.create(model="clip", input=[sent]).data[0].embedding
    assert np.isclose(np.linalg.norm(vector), 1, atol=1e-5)
    monkeypatch.setattr("pinxit.serve.embeddings.MAX_TOTAL_PIXELS", 40 * 30 + 1)
    assert client.embeddings.create(model="clip", input=[sent, "a red square"]).data
    with pytest.raises(openai.BadRequestError, match="pixels together"):
        client.embeddings.create(model="clip", input=[sent, sent])


def test_a_picture_is_embedded_whether_or_not_in_a_list_and_as_many_texts_as_openai_takes(server: Running) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    sent = "data:image/png;base64," + base64.b64encode(png_bytes(noise, {})).decode()
    assert len(sent) > 32_000
    alone, listed, many = (server.post("/v1/embeddings", json={"input": one}) for one in (sent, [sent], ["a"] * 2048))
    assert alone.status_code == 200 and alone.json()["data"] == listed.json()["data"], alone.text
    assert many.status_code == 200 and len(many.json()["data"]) == 2048


@pytest.mark.parametrize(
    ("given", "said"),
    [(["a"] * 2049, "2049 texts and pictures are sent; a request takes 1 to 2048"), ([], "0 texts and pictures"),
     (["data:,"] * 257, "257 pictures are sent; a request takes at most 256"), ([1, 2], "token ids are not read"),
     ([["a"]], "send texts"), ("a" * 32_001, "at most 32000 characters"), (["a" * 32_001], "at most 32000 characters"),
     (["a" * 32_000] * 257, "8224000 characters together; a request takes at most 8192000"), (None, "send texts")],
)  # fmt: skip
def test_what_is_not_embedded_is_said_in_one_sentence(server: Running, given: object, said: str) -> None:
    answer = server.post("/v1/embeddings", json={"input": given})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["message"].startswith("input: ") and error["param"] == "input"
    assert said in error["message"] and error["message"].count(".") == 1


class Counting(asyncio.Lock):
    """Knows how often it was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = list[float]()

    async def acquire(self) -> Literal[True]:
        self.taken.append(time.time())
        return await super().acquire()


def test_pictures_of_one_request_at_a_time_are_decoded(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it has many: until a request is admitted they are in memory, and not counted."""
    decode, seen = server.context.uploads.decode, list[int]()

    async def decoding(data: bytes, param: str) -> Upload:
        upload = await decode(data, param)
        seen.append(upload.picture.shape[0])
        return upload

    def picture(side: int) -> str:
        file = png_bytes(np.zeros((side, side, 3), np.uint8), {})
        return "data:image/png;base64," + base64.b64encode(file).decode()

    async def ask(client: httpx.AsyncClient, side: int) -> None:
        answer = await client.post(server.url + "/v1/embeddings", json={"input": [picture(side)] * 4})
        assert answer.status_code == 200, answer.text

    async def all_of_them() -> None:
        async with httpx.AsyncClient(timeout=300) as client:
            await asyncio.gather(*(ask(client, side) for side in (20, 30, 40)))

    monkeypatch.setattr(server.context.uploads, "decode", decoding)
    monkeypatch.setattr(server.context.uploads.places, "turn", (turn := Counting()))
    assert server.post("/v1/embeddings", json={"input": "a cat"}).status_code == 200 and not turn.taken, "texts wait"
    asyncio.run(all_of_them())
    assert len(turn.taken) == 3
    assert len(seen) == 12 and all(len(set(seen[first : first + 4])) == 1 for first in (0, 4, 8)), seen


def test_metadata_of_a_saved_picture_is_read_by_pinxit(client: openai.OpenAI, tmp_path: Path) -> None:
    found = client.images.generate(prompt=PROMPT, extra_body={"seed": 3, "candidates": 1, "temperature": 0.5})
    assert found.data is not None
    (tmp_path / "p.png").write_bytes(base64.b64decode(found.data[0].b64_json or ""))
    facts = read_metadata(tmp_path / "p.png")
    assert facts["temperature"] == 0.5 and facts["candidates"] == 1 and facts["prompt"] == PROMPT

"""Edits and variations as real clients send them, and uploads of strangers."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import os
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.datastructures import FormData, UploadFile

from pinxit.recipes.capabilities import Edits
from pinxit.serve import edits, images, jobs, upload_decoder
from pinxit.serve.job_results import store_results
from pinxit.serve.paint_plan import PaintPlan
from pinxit.serve.uploads import UNCOUNTED, UploadSlots
from tests.recipes.painters import random_painter
from tests.serve.running import Running
from tests.serve.test_jobs import ended

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", timeout=60, max_retries=0) as found:
        yield found


def file(picture: Any, form: str = "png", **how: Any) -> bytes:
    found = io.BytesIO()
    Image.fromarray(picture).save(found, form, **how)
    return found.getvalue()


def mask(rows: slice) -> bytes:
    found = np.full((32, 32, 4), 255, np.uint8)
    found[rows, :, 3] = 0
    return file(found)


def pixels(b64: str | None) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64 or ""))))


def test_the_painter_is_one_that_edits() -> None:
    assert isinstance(random_painter(), Edits)


@pytest.mark.parametrize("many", [False, True])
def test_what_the_mask_leaves_stays(client: openai.OpenAI, many: bool) -> None:
    """One picture arrives as `image`, a list of one as `image[]`."""
    image: Any = [file(PICTURE)] if many else file(PICTURE)
    found = client.images.edit(image=image, mask=mask(slice(16, 32)), prompt="a red square", n=2,
                               response_format="b64_json", extra_body={"seed": 4, "candidates": 2})  # fmt: skip
    assert found.data is not None and len(found.data) == 2
    for one in found.data:
        painted = pixels(one.b64_json)
        assert (painted[:16] == PICTURE[:16]).all() and not (painted[16:] == PICTURE[16:]).all()


def test_transparency_of_the_picture_is_a_mask(client: openai.OpenAI) -> None:
    clear = np.dstack([PICTURE, np.full((32, 32), 255, np.uint8)])
    clear[:8, :, 3] = 0
    found = client.images.edit(
        image=file(clear), prompt="a red square", extra_body={"candidates": 1, "temperature": 0.5}
    )
    assert found.data is not None
    painted = pixels(found.data[0].b64_json)
    assert (painted[8:] == PICTURE[8:]).all() and not (painted[:8] == PICTURE[:8]).all()


def test_edits_stream_and_come_as_json_too(client: openai.OpenAI, server: Running) -> None:
    events = list(client.images.edit(image=file(PICTURE), mask=mask(slice(16, 32)), prompt="a cat", stream=True,
                                     partial_images=1, extra_body={"seed": 4, "candidates": 1}))  # fmt: skip
    assert [one.type for one in events][-1] == "image_edit.completed"
    urls = urls_of(file(PICTURE), mask(slice(16, 32)))
    body = {"images": [{"image_url": urls[0]}], "mask": {"image_url": urls[1]}, "prompt": "a cat", "seed": 4}
    answer = server.post("/v1/images/edits", json=body | {"candidates": 1})
    assert answer.status_code == 200 and answer.json()["data"][0]["b64_json"] == events[-1].b64_json
    body["images"] = [{"image_url": "http://169.254.169.254/latest"}]
    answer = server.post("/v1/images/edits", json=body)
    assert answer.status_code == 400 and "not fetched" in answer.json()["error"]["message"]


def test_what_cannot_be_edited_is_said(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot make variations of a picture") as unable:
        client.images.create_variation(image=file(PICTURE), n=1)
    assert unable.value.code == "unsupported" and unable.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="send a mask"):
        client.images.edit(image=file(PICTURE), prompt="a cat")
    with pytest.raises(openai.BadRequestError, match="as large as the picture"):
        client.images.edit(image=file(PICTURE[:16, :16]), mask=mask(slice(0, 8)), prompt="a cat")
    with pytest.raises(openai.BadRequestError, match="no pixel is transparent"):
        client.images.edit(image=file(PICTURE), mask=file(PICTURE), prompt="a cat")
    with pytest.raises(openai.BadRequestError, match="one picture"):
        client.images.edit(image=[file(PICTURE)] * 2, mask=mask(slice(0, 8)), prompt="a cat")


def test_nothing_that_is_sent_is_dropped(client: openai.OpenAI, server: Running) -> None:
    files = [("image", ("p", file(PICTURE))), *[("mask", ("m", mask(slice(0, 8))))] * 2]
    answer = server.post("/v1/images/edits", data={"prompt": "a cat"}, files=files)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "mask"
    answer = server.post("/v1/images/variations", files=files[:2])
    assert answer.status_code == 400 and "only an edit" in answer.json()["error"]["message"]


def test_files_of_a_form_that_is_refused_are_closed(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones are on the disk until then."""
    closed, close = [], FormData.close

    async def closing(form: FormData) -> None:
        closed.append(form)
        await close(form)

    monkeypatch.setattr(FormData, "close", closing)
    files = [("image", ("p", file(PICTURE))), ("strange", ("s", file(PICTURE)))]
    answer = server.post("/v1/images/edits", data={"prompt": "a cat"}, files=files)
    assert answer.status_code == 400 and "only image and mask" in answer.json()["error"]["message"]
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("path", "kind"),
    [("edits", "application/json"), ("edits", "multipart/form-data; boundary=x"), ("generations", "application/json")],
)
def test_who_leaves_while_sending_is_no_fault(
    server: Running, caplog: pytest.LogCaptureFixture, path: str, kind: str
) -> None:
    caplog.set_level("INFO", "pinxit.serve")
    head = f"POST /v1/images/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as client:
        client.sendall(f"{head}--x\r\n".encode())
    while not (said := [one for one in caplog.records if one.name == "pinxit.serve"]):
        time.sleep(0.02)
    assert [one.levelname for one in said] == ["INFO"] and f"POST /v1/images/{path} 499" in said[0].getMessage()


def test_a_full_disk_is_not_the_fault_of_a_form(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(self: UploadFile, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(UploadFile, "write", write)
    form = {"files": {"image": file(PICTURE)}, "data": {"prompt": "a cat"}}
    assert server.post("/v1/images/edits", **form).status_code == 500


def bomb(side: int) -> bytes:
    """A small PNG of many pixels."""
    rows = zlib.compress(b"\0" * (side + 1) * side, 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    told = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                    for kind, data in chunks)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + told


HOSTILE = {
    "nothing": b"",
    "text": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "gif": file(PICTURE, "gif"),
    "bmp": file(PICTURE, "bmp"),
    "cut": file(PICTURE)[:300],
    "magic alone": b"\x89PNG\r\n\x1a\n",
    "bomb": bomb(9000),
    "riff": b"RIFF\x00\x00\x00\x00WAVE",
    "texts": b"\x89PNG\r\n\x1a\n" + b"\xff" * 1000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_one_sentence(client: openai.OpenAI, server: Running, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(image=("../../etc/passwd", HOSTILE[name]), mask=mask(slice(0, 8)), prompt="a cat")
    assert refused.value.code == "invalid_image" and refused.value.param == "image"
    assert "passwd" not in refused.value.response.text and len(refused.value.response.content) < 1000


def test_pictures_are_turned_as_their_exif_says(server: Running) -> None:
    tall = np.zeros((64, 32, 3), np.uint8)
    tall[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    sent = file(tall, "jpeg", exif=exif)

    async def decoded() -> Any:
        return (await server.context.uploads.decode(sent, "image")).picture

    found = asyncio.run_coroutine_threadsafe(decoded(), server.context.dispatcher.loop).result(30)
    assert found[:16].mean() < 10 and found[48:].mean() > 245


def test_an_answer_is_remembered_without_the_picture_that_was_sent(server: Running, client: openai.OpenAI) -> None:
    how: dict[str, Any] = {"image": file(PICTURE), "mask": mask(slice(16, 32)), "prompt": "a remembered one",
                           "response_format": "b64_json", "extra_body": {"seed": 9, "candidates": 1}}  # fmt: skip
    found = [client.images.edit(**how).data for _ in "ab"]
    assert found[0] and found[1] and found[0][0].b64_json == found[1][0].b64_json
    jobs = [handle.job for _, handle in server.context.dispatcher.by_key.values()]
    assert any(job.request.prompt.text == "a remembered one" for job in jobs)
    assert all(job.request.more is None for job in jobs)


def urls_of(*files: bytes) -> list[str]:
    return ["data:image/png;base64," + base64.b64encode(one).decode() for one in files]


@pytest.mark.parametrize("path", ["/v1/images/edits", "/api/jobs"])
def test_uploads_of_two_requests_are_checked_at_once_and_no_more_are_uncounted(
    server: Running, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Until a request is admitted nothing bounds how many of its pictures are in memory."""
    decoding, admit = {"/v1/images/edits": edits, "/api/jobs": jobs}[path], server.context.admission.admit
    name, uncounted, most = {edits: "_pictures", jobs: "plan_of_request"}[decoding], [0], list[int]()
    decode, together = getattr(decoding, name), asyncio.Barrier(2)

    async def decoded(*given: Any) -> Any:
        uncounted[0] += 2
        most.append(uncounted[0])
        await asyncio.wait_for(together.wait(), 60)
        return await decode(*given)

    def admitted(*given: Any, **more: Any) -> float:
        uncounted[0] -= 2
        return admit(*given, **more)

    monkeypatch.setattr(decoding, name, decoded)
    monkeypatch.setattr(server.context.admission, "admit", admitted)
    picture, hole = urls_of(file(PICTURE), mask(slice(16, 32)))
    body: dict[str, Any] = {"images": [{"image_url": picture}], "mask": {"image_url": hole}}
    body = body if decoding is edits else {"kind": "edit", "image": picture, "mask": hole}
    with ThreadPoolExecutor(8) as threads:
        asked = [body | {"prompt": "a cat", "candidates": 1}] * 8
        answers = list(threads.map(lambda one: server.post(path, json=one), asked))
    assert {one.status_code for one in answers} <= {200, 202}, [one.text for one in answers]
    assert len(most) == 8 and max(most) == UNCOUNTED and uncounted == [0]
    assert server.context.uploads.places.free == UNCOUNTED


def test_places_are_given_in_the_order_of_arrival() -> None:
    """A request of many pictures is not overtaken, takes all at most, and one that leaves the queue takes none."""

    async def play() -> None:
        places, within, leave = UploadSlots(4), list[str](), asyncio.Event()

        async def asks(name: str, count: int) -> None:
            async with places.of(count):
                within.append(name)
                await leave.wait()

        tasks = {}
        for name, count in (("few", 1), ("many", 9), ("few later", 2), ("none", 0)):
            tasks[name] = asyncio.ensure_future(asks(name, count))
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert within == ["few", "none"]
        tasks["many"].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert within == ["few", "none", "few later"] and places.free == 1
        leave.set()
        async with places.of(9):
            assert places.free == 0
        assert places.free == 4

    asyncio.run(play())


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/embeddings"])
def test_uploads_of_who_has_left_are_not_checked(server: Running, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Or a server that is slower than its clients' patience would only work for those that have left."""
    uploads, decoded, open_now = server.context.uploads, list[str](), server.server.server_state.connections
    decode, places = uploads.decode, UploadSlots(UNCOUNTED)

    async def decoding(data: bytes, param: str) -> Any:
        decoded.append(param)
        return await decode(data, param)

    monkeypatch.setattr(uploads, "decode", decoding)
    monkeypatch.setattr(uploads, "places", places)
    places.free = 0
    (picture,), before = urls_of(file(PICTURE)), set(open_now)
    body = {"images": [{"image_url": picture}], "prompt": "a cat"} if "edits" in path else {"input": [picture]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.url + path, json=body, timeout=httpx.Timeout(60, read=0.5))
    while set(open_now) - before or not places.turn.locked():
        time.sleep(0.01)
    places.free = UNCOUNTED
    server.context.dispatcher.loop.call_soon_threadsafe(places.freed.set)
    while places.turn.locked() or places.free < UNCOUNTED:
        time.sleep(0.01)
    assert not decoded
    server.post(path, json=body)
    assert len(decoded) == 1


def test_sentences_do_not_wait_for_uploads(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.context.uploads.places, "free", 0)
    for path in ("/v1/images/generations", "/api/jobs"):
        assert server.post(path, json={"prompt": "a cat", "candidates": 1}).status_code in (200, 202)


def test_an_upload_is_let_go_with_its_job(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures may still be checked, encoded and sent, which is not counted."""
    plans, respond = list[PaintPlan](), images.complete_response

    async def responding(request: Any, plan: PaintPlan, *rest: Any) -> Any:
        plans.append(plan)
        return await respond(request, plan, *rest)

    async def storing(services: Any, store: Any, live: Any, plan: PaintPlan, *rest: Any) -> None:
        plans.append(plan)
        await store_results(services, store, live, plan, *rest)

    monkeypatch.setattr(images, "complete_response", responding)
    monkeypatch.setattr(jobs, "store_results", storing)
    picture, hole = urls_of(file(PICTURE), mask(slice(16, 32)))
    body = {"images": [{"image_url": picture}], "mask": {"image_url": hole}, "prompt": "let go", "candidates": 1}
    assert server.post("/v1/images/edits", json=body).status_code == 200
    edit = {"kind": "edit", "image": picture, "mask": hole, "prompt": "let go", "candidates": 1}
    (job,) = server.post("/api/jobs", json=edit).json()["jobs"]
    assert ended(server, job["id"])["state"] == "done"
    mine = [one for one in plans if one.asked.prompt.text == "let go"]  # jobs of other tests may end meanwhile
    assert len(mine) == 2 and all(one.contains_upload and one.asked.more is None for one in mine)


def test_an_edit_without_words_is_refused(server: Running) -> None:
    """As by the command line, whichever door it comes through."""
    answer = server.post("/v1/images/edits", data={"prompt": " "},
                         files={"image": ("p", file(PICTURE)), "mask": ("m", mask(slice(0, 8)))})  # fmt: skip
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "prompt", answer.text
    picture, hole = urls_of(file(PICTURE), mask(slice(0, 8)))
    answer = server.post("/api/jobs", json={"kind": "edit", "image": picture, "mask": hole, "prompt": " "})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "prompt", answer.text


def test_a_truncated_upload_is_one_sentence(server: Running) -> None:
    answer = server.post("/v1/images/variations", files={"image": ("p", file(PICTURE)[:-200])})
    assert answer.json()["error"]["message"] == "image: the picture is truncated.", answer.text


def test_what_is_transparent_is_turned_with_the_picture() -> None:
    half, exif = np.full((32, 32, 4), 255, np.uint8), Image.Exif()
    half[:16, :, 3] = 0
    exif[0x0112] = 3  # upside down
    rgb, alpha = upload_decoder.pixels(file(half, "png", exif=exif))
    assert rgb.shape == (32, 32, 3) and alpha is not None
    assert (alpha[:16] == 255).all() and (alpha[16:] == 0).all()


@pytest.mark.parametrize(
    ("key", "text"), [("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>'), ("Comment", "x" * 2_000_000)]
)
def test_notes_change_neither_a_picture_nor_its_transparency(key: str, text: str) -> None:
    """Pillow turns a picture as its XMP says, and refuses much text."""
    half, notes = np.full((32, 32, 4), 255, np.uint8), PngInfo()
    half[:16, :, 3] = 0
    notes.add_itxt(key, text, zip=True)
    rgb, alpha = upload_decoder.pixels(file(half, "png", pnginfo=notes))
    assert rgb.shape == (32, 32, 3) and alpha is not None
    assert np.array_equal(alpha, half[:, :, 3])


def test_a_decoder_that_dies_is_replaced(server: Running, client: openai.OpenAI) -> None:
    process = server.context.uploads.process
    if process is not None:
        process.kill()
    how = {"mask": mask(slice(16, 32)), "prompt": "a cat", "extra_body": {"candidates": 1}}
    for attempt in range(2):
        try:
            assert client.images.edit(image=file(PICTURE), **how).data  # type: ignore[call-overload]
        except openai.BadRequestError:
            assert attempt == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_hostile_uploads_leave_no_memory_behind(server: Running) -> None:
    """Bytes of good pictures, changed by chance."""
    dice = np.random.default_rng(0)
    goods = [file(PICTURE), file(PICTURE, "jpeg"), file(PICTURE, "webp"), bomb(1200)]
    before = 0
    for number in range(2000):
        data = bytearray(goods[number % 4])
        for place in dice.integers(8, len(data), 6):
            data[place] = dice.integers(256)
        answer = server.post("/v1/images/edits", data={"prompt": "a cat", "candidates": "1"},
                             files={"image": ("p", bytes(data)), "mask": ("m", mask(slice(0, 8)))})  # fmt: skip
        assert answer.status_code < 500, answer.text
        if number == 200:
            before = resident()
    assert (grown := resident() - before) < 64 * 2**20, grown


def resident() -> int:
    """Bytes that this process holds now. Its peak may be older than the test, and would not grow."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""Jobs that outlive whoever asked for them, and the process that paints them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import torch
from PIL import Image

from pinxit.errors import PinxitError
from pinxit.files import write_bytes
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.work import WorkItem
from pinxit.serve import job_recovery, job_requests, jobs, records
from pinxit.serve.catalog import WARM_UP, Catalog, ServerJob
from pinxit.serve.dispatcher import JobHandle
from pinxit.serve.feed import Feeds
from pinxit.serve.live_job import LiveJob, arrival_number
from pinxit.serve.paint_plan import PaintPlan
from pinxit.serve.server import make_server
from pinxit.serve.settings import Settings
from pinxit.serve.uploads import Uploads
from tests.recipes.painters import save_random_checkpoint
from tests.serve.process import Process
from tests.serve.running import Running, catalog, running


def ended(server: Running, name: str, seconds: float = 60) -> dict[str, Any]:
    for _ in range(int(seconds / 0.05)):
        found: dict[str, Any] = server.get(f"/api/jobs/{name}").json()
        if found["state"] != "queued":
            return found
        time.sleep(0.05)
    raise AssertionError("the job does not end")


def submitted(server: Running, **asked: Any) -> list[dict[str, Any]]:
    answer = server.post("/api/jobs", json={"prompt": "a red square", "seed": 3, "candidates": 4} | asked)
    assert answer.status_code == 202, answer.text
    found: list[dict[str, Any]] = answer.json()["jobs"]
    return found


def data_url(picture: Any, mode: str = "RGB") -> str:
    file = io.BytesIO()
    Image.fromarray(picture, mode).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_a_job_keeps_every_candidate_ranked(server: Running) -> None:
    (job,) = submitted(server)
    assert job["state"] == "queued" and job["recipe"] == "dalle" and job["keep"] == 4
    done = ended(server, job["id"])
    assert done["state"] == "done" and done["share"] == 1
    assert sorted(one["candidate"] for one in done["pictures"]) == [0, 1, 2, 3]
    scores = [one["score"] for one in done["pictures"]]
    assert scores == sorted(scores, reverse=True)
    file = server.get("/" + done["pictures"][0]["url"])
    asked = {"prompt": "a red square", "seed": 3, "candidates": 4, "n": 4}
    same = server.post("/v1/images/generations", json=asked).json()["data"][0]["b64_json"]
    assert file.content == base64.b64decode(same) and file.headers["content-type"] == "image/png"


def test_cancelling_what_has_ended_leaves_its_pictures(server: Running) -> None:
    (job,) = submitted(server, candidates=1)
    done = ended(server, job["id"])
    assert server.post(f"/api/jobs/{job['id']}/cancel").json() == done  # as by a page that has not heard of the end
    assert server.get("/" + done["pictures"][0]["url"]).status_code == 200
    (other,) = submitted(server, candidates=64)
    assert server.post(f"/api/jobs/{other['id']}/cancel").json()["state"] == "cancelled"
    assert server.post(f"/api/jobs/{'0' * 32}/cancel").status_code == 404


def test_a_stream_tells_looks_progress_and_ends(server: Running) -> None:
    told: list[dict[str, Any]] = []
    listening = threading.Event()

    def listen() -> None:
        with httpx.stream("GET", server.url + "/api/events", timeout=30) as stream:
            for line in stream.iter_lines():
                listening.set()
                if line.startswith("data: "):
                    told.append(json.loads(line[6:]))
                    if told[-1]["kind"] == "ended" and told[-1]["job"] in wanted:
                        return

    wanted: list[str] = []
    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(20)
    (job,) = submitted(server, candidates=48, keep=2, seed=11)
    wanted.append(job["id"])
    thread.join(60)
    assert not thread.is_alive()
    mine = [one for one in told if one["job"] == job["id"]]
    assert {"queued", "progress", "look", "ended"} <= {one["kind"] for one in mine}
    looks = [one for one in mine if one["kind"] == "look" and one["finished"]]
    assert looks and all(0 <= one["candidate"] < 48 for one in looks)
    assert Image.open(io.BytesIO(base64.b64decode(looks[0]["image"].split(",")[1]))).format == "WEBP"
    shares = [one["share"] for one in mine if one["kind"] == "progress"]
    assert shares == sorted(shares)


def test_a_key_makes_a_job_once(server: Running) -> None:
    asked = {"prompt": "a cat", "candidates": 1}
    found = [server.post("/api/jobs", json=asked, headers={"Idempotency-Key": "once"}).json() for _ in range(2)]
    assert found[0]["jobs"][0]["id"] == found[1]["jobs"][0]["id"]


def test_a_key_of_another_request_is_refused(server: Running) -> None:
    asked, headers = {"prompt": "a cat", "candidates": 1}, {"Idempotency-Key": "of one request"}
    (job,) = server.post("/api/jobs", json=asked, headers=headers).json()["jobs"]
    before = len(server.get("/api/jobs", params={"limit": 200}).json()["jobs"])
    for other in ({"prompt": "a dog"}, {"seed": 3}, {"recipes": ["dalle", "other"]}):
        answer = server.post("/api/jobs", json=asked | other, headers=headers)
        assert answer.status_code == 409 and answer.json()["error"]["code"] == "idempotency_key_reused"
        assert answer.headers["x-should-retry"] == "false"
    assert len(server.get("/api/jobs", params={"limit": 200}).json()["jobs"]) == before
    assert server.post("/api/jobs", json=asked, headers=headers).json()["jobs"][0]["id"] == job["id"]
    answer = server.post("/api/jobs", json=asked, headers={"Idempotency-Key": "x" * 256})
    assert answer.status_code == 400 and "255" in answer.json()["error"]["message"]


def test_one_client_has_one_share_however_it_asks(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher, clients = server.context.dispatcher, []
    submit = dispatcher.submit
    while server.context.jobs.live:  # of the tests before
        time.sleep(0.02)

    def heard(job: Any, *rest: Any, **how: Any) -> Any:
        clients.append(job.client)
        return submit(job, *rest, **how)

    monkeypatch.setattr(dispatcher, "submit", heard)
    (job,) = submitted(server, candidates=1)
    ended(server, job["id"])
    server.post("/v1/images/generations", json={"prompt": "a cat", "candidates": 1})
    assert len(clients) == 3 and set(clients) == {"address:127.0.0.1"}


def test_a_comparison_is_taken_on_whole_or_refused_whole(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    admission = server.context.admission
    before = [one["id"] for one in server.get("/api/jobs").json()["jobs"]]
    asked = {"prompt": "compared", "candidates": 1, "recipes": ["dalle", "other"]}
    monkeypatch.setattr(admission.costs, "estimate", lambda job: 10.0)
    monkeypatch.setattr(admission, "backlog", lambda client=None: 5.0)
    monkeypatch.setattr(admission, "budget", 20.0)  # room for one of them
    assert server.post("/api/jobs", json=asked).status_code == 429
    monkeypatch.undo()
    assert [one["id"] for one in server.get("/api/jobs").json()["jobs"]] == before and not admission.reserved


@pytest.mark.parametrize(
    "error", [PinxitError("jobs cannot be kept: the disk is full."), sqlite3.OperationalError("disk I/O error")]
)
def test_a_failure_that_cannot_be_kept_is_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Until it is written down nobody is told, and the job does not hang for ever."""
    finish, full = records.finish, [True, True]

    def on_a_full_disk(*about: Any, **more: Any) -> Any:
        def call(base: sqlite3.Connection) -> bool:
            if full:
                full.pop()
                raise error
            return finish(*about, **more)(base)

        return call

    monkeypatch.setattr(jobs, "RETRY_SECONDS", 0.05)
    with running(tmp_path) as server:
        monkeypatch.setattr(records, "finish", on_a_full_disk)  # done, and then failed, cannot be written
        (job,) = submitted(server, candidates=1)
        found = ended(server, job["id"])
        assert found["state"] == "failed" and found["error"] and not full and not server.context.jobs.live
        assert not list(server.context.jobs.store.folder.iterdir()), "its pictures, which would keep a full disk full"


def test_a_cancellation_that_cannot_be_kept_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a job whose failure cannot be kept at the same time: it is kept, and removed, when there is room."""
    finish, asked, full = records.finish, list[str](), [True]

    def on_a_full_disk(name: str, state: records.State, *about: Any, **more: Any) -> Any:
        def call(base: sqlite3.Connection) -> bool:
            if full:
                raise sqlite3.OperationalError("database or disk is full")
            return finish(name, state, *about, **more)(base)

        asked.append(state)
        return call

    monkeypatch.setattr(jobs, "RETRY_SECONDS", 0.05)
    with running(tmp_path) as server:
        live, do = server.context.jobs.live, server.context.jobs.store.do

        async def slow_to_cancel(call: Any) -> Any:
            """As long as it takes until the failure is tried again, or is not any more."""
            before = len(asked)
            while asked[-1:] == [records.CANCELLED] and len(asked) == before and job["id"] in live:
                await asyncio.sleep(0.01)
            return await do(call)

        monkeypatch.setattr(records, "finish", on_a_full_disk)
        (job,) = submitted(server, candidates=1)
        while records.FAILED not in asked:
            time.sleep(0.02)
        monkeypatch.setattr(server.context.jobs.store, "do", slow_to_cancel)
        assert server.delete(f"/api/jobs/{job['id']}").status_code == 500
        full.clear()
        assert ended(server, job["id"])["state"] == "failed"
        while live:
            time.sleep(0.02)
        assert server.delete(f"/api/jobs/{job['id']}").json() == {"jobs": []}


def test_compare_paints_the_same_by_several(server: Running) -> None:
    jobs = submitted(server, recipes=["dalle", "other"], candidates=1)
    assert [one["recipe"] for one in jobs] == ["dalle", "other"] and len({one["group"] for one in jobs}) == 1
    assert {ended(server, one["id"])["state"] for one in jobs} == {"done"}


def test_cancel_remove_star_and_find(server: Running) -> None:
    (long,) = submitted(server, candidates=256, prompt="a long one")
    assert server.delete(f"/api/jobs/{long['id']}").json()["jobs"][0]["state"] == "cancelled"
    assert ended(server, long["id"])["state"] == "cancelled"
    (job,) = submitted(server, prompt="Find ME", candidates=1)
    done = ended(server, job["id"])
    picture = done["pictures"][0]
    assert server.patch(f"/api/jobs/{job['id']}", json={"starred": True, "picture": picture["id"]}).status_code == 200
    for words in ({"words": "find me"}, {"starred": True}):
        found = server.get("/api/jobs", params=words).json()["jobs"]
        assert [one["id"] for one in found] == [job["id"]] and found[0]["pictures"][0]["starred"]
    assert server.get("/" + picture["url"]).status_code == 200
    assert server.delete(f"/api/jobs/{job['id']}").json()["jobs"] == []
    assert server.get("/" + picture["url"]).status_code == 404 == server.get(f"/api/jobs/{job['id']}").status_code


def test_what_was_ignored_is_said_after_the_end_too(server: Running) -> None:
    (job,) = submitted(server, candidates=1, prompt="a flurbed square")
    warnings = ended(server, job["id"])["warnings"]
    assert len(warnings) == 1 and warnings == job["warnings"] and "did not occur in training" in warnings[0]


def test_jobs_of_one_moment_have_an_order(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of the list go by the time of the last job: those of the same would be skipped."""
    moment = time.time()
    monkeypatch.setattr("pinxit.serve.jobs.time.time", lambda: moment)
    found = [job for _ in range(2) for job in submitted(server, recipes=["dalle", "other"], candidates=1)]
    monkeypatch.undo()
    times = [job["created"] for job in found]
    assert len(set(times)) == 4 and times == sorted(times)


def test_a_job_that_another_request_has_just_deleted_is_not_there(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = submitted(server, candidates=1)
    ended(server, job["id"])
    monkeypatch.setattr(records, "delete", lambda owner, name: lambda db: None)
    assert server.delete(f"/api/jobs/{job['id']}").status_code == 404


def test_all_jobs_are_cancelled_while_another_request_deletes_one(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = server.context.jobs
    names = [submitted(server, candidates=200)[0]["id"] for _ in range(2)]
    cancel = jobs.cancel

    async def cancelled(name: str) -> None:
        await cancel(name)
        if name == names[0]:
            await jobs.store.do(records.delete("", name))

    monkeypatch.setattr(jobs, "cancel", cancelled)
    found = server.delete("/api/jobs").json()["jobs"]
    assert [one["id"] for one in found if one["id"] in names] == names[1:] and found[-1]["state"] == "cancelled"


def test_a_page_that_connects_while_the_server_ends_does_not_keep_it() -> None:
    async def play() -> list[Any]:
        feeds = Feeds()
        with feeds.listening("") as before:
            feeds.publish("", "a", "queued")
            feeds.close()
            with feeds.listening("") as after:
                return [[one async for one in feed.messages()] for feed in (after, before)]

    assert asyncio.run(asyncio.wait_for(play(), 10)) == [[], []]


def test_a_page_that_does_not_read_keeps_no_previews_of_jobs_that_have_ended() -> None:
    feeds = Feeds()
    with feeds.listening("") as feed:
        for job in "ab":
            feeds.publish("", job, "queued")
            for candidate in range(3):
                feeds.publish_preview("", job, {"candidate": candidate}, bytes(9))
        feeds.publish("", "a", "ended")
        told = [(one["job"], one["kind"]) for one in feed.pending.values()]
    assert told == [("a", "queued"), ("b", "queued"), *[("b", "look")] * 3, ("a", "ended")]


def test_nothing_is_told_of_a_job_after_its_end(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it is cancelled while a preview of it is being checked."""
    context, checked, told, cancelled = server.context, threading.Event(), list[tuple[str, str]](), threading.Event()
    publish = context.jobs.feeds._put

    async def shows(picture: Any) -> bool:
        checked.set()
        await asyncio.to_thread(cancelled.wait, 60)
        return True

    def put(owner: str, key: Any, message: dict[str, Any]) -> None:
        told.append((message["job"], message["kind"]))
        publish(owner, key, message)

    monkeypatch.setattr(context.jobs.feeds, "has_listeners", lambda owner: True)
    monkeypatch.setattr(context.jobs.feeds, "_put", put)
    monkeypatch.setattr(context.policy, "shows", shows)
    (job,) = submitted(server, candidates=64)
    task = context.jobs.live[job["id"]].task
    assert checked.wait(60) and task is not None
    server.post(f"/api/jobs/{job['id']}/cancel")
    cancelled.set()
    while not task.done():
        time.sleep(0.02)
    assert [kind for name, kind in told if name == job["id"]][-1] == "ended"


def test_jobs_that_the_engine_has_not_taken_yet_are_behind_those_it_has() -> None:
    """As for the moment of a long call."""

    def live(number: int) -> LiveJob:
        found = LiveJob(records.Record("", "", 0.0, records.QUEUED, {}))
        found.handle = JobHandle(ServerJob([], number=number), None, 4.0)
        return found

    hastened, taken = live(-2), live(7)
    assert arrival_number(hastened) < arrival_number(taken) < arrival_number(live(ServerJob([]).number))
    mine = [live(number) for number in (7, -2, 5)]
    dispatcher = SimpleNamespace(progress=lambda handle: 0.5)
    all_jobs: Any = SimpleNamespace(live=dict(enumerate(mine)), services=SimpleNamespace(dispatcher=dispatcher))
    told = [jobs.Jobs.status_of(all_jobs, one) for one in mine]
    assert [(one["ahead"], one["seconds_left"]) for one in told] == [(2, 6.0), (0, 2.0), (1, 4.0)]


def test_to_the_front(server: Running) -> None:
    names = [submitted(server, candidates=count)[0]["id"] for count in (64, 16, 16)]
    server.post(f"/api/jobs/{names[2]}/front")
    ends = {name: ended(server, name)["ended"] for name in names}
    assert ends[names[2]] < ends[names[1]]


def test_an_edit_keeps_what_the_mask_does_not_touch(server: Running) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    mask = np.full((32, 32, 4), 255, np.uint8)
    mask[16:, :, 3] = 0
    (job,) = submitted(server, kind="edit", image=data_url(picture), mask=data_url(mask, "RGBA"), candidates=1)
    done = ended(server, job["id"])
    assert done["state"] == "done", done["error"]
    painted = np.asarray(Image.open(io.BytesIO(server.get("/" + done["pictures"][0]["url"]).content)))
    assert (painted[:16] == picture[:16]).all() and not (painted[16:] == picture[16:]).all()
    (again,) = submitted(
        server, kind="edit", image=done["pictures"][0]["id"], mask=data_url(mask, "RGBA"), candidates=1
    )
    assert ended(server, again["id"])["state"] == "done"


def test_classify_and_search(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, brief = server.context.dispatcher.submit, list[tuple[bool, bool]]()

    def noted(job: ServerJob, *args: Any, **how: Any) -> JobHandle:
        brief.append((job.request is None, job.brief))
        return submit(job, *args, **how)

    monkeypatch.setattr(server.context.dispatcher, "submit", noted)
    red, blue = (np.full((32, 32, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    found = server.post("/api/classify", json={"image": data_url(red), "labels": ["cat", "dog", "star"]}).json()
    assert abs(sum(one["share"] for one in found["labels"]) - 1) < 1e-5
    shares = [one["share"] for one in found["labels"]]
    assert shares == sorted(shares, reverse=True) and len(shares) == 3
    (job,) = submitted(server, candidates=3, seed=77)
    done = ended(server, job["id"])
    like = done["pictures"][1]["id"]
    hits = server.post("/api/search", json={"image": like, "top": 5}).json()["hits"]
    assert hits[0]["picture"] == like and hits[0]["score"] == pytest.approx(1, abs=1e-4)
    assert server.post("/api/search", json={"sentence": "a star"}).json()["hits"]
    assert set(brief) == {(True, True), (False, False)}, "what only CLIP computes does not wait for what is painted"
    gone = done["pictures"][2]["id"]
    assert server.get(f"/pictures/{gone}.png").content == server.context.jobs.store.file(gone).read_bytes()
    server.context.jobs.store.file(gone).unlink()
    assert server.get(f"/pictures/{gone}.png").status_code == 404
    for path, more in (("classify", {"labels": ["cat"]}), ("search", {})):
        answer = server.post(f"/api/{path}", json={"image": gone} | more)
        assert answer.status_code == 404 and "not here any more" in answer.json()["error"]["message"]
    assert server.post("/api/search", json={}).status_code == 400
    refused = server.post("/api/search", json={"query": "a star"}).json()["error"]
    assert refused["param"] == "query" and refused["message"].startswith("query: "), refused
    assert server.post("/api/classify", json={"image": data_url(blue), "labels": []}).status_code == 400


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"prompt": " "}, "empty"), ({"recipes": ["nobody"]}, "no such model"), ({"settings": {"wish": 1}}, "no setting"),
     ({"settings": {"n": 3}}, "not a setting"), ({"settings": {"cls": 1}}, "no setting 'cls'"),
     ({"settings": {"_fields_set": ["a"]}}, "no setting '_fields_set'"),
     ({"recipes": ["dalle", "other"], "settings": {"wish": 1}}, "wish is not a"),
     ({"kind": "edit"}, "needs one"), ({"image": "0" * 32}, "takes none"),
     ({"kind": "vary", "image": "0" * 32}, "no such picture"), ({"candidates": 10**6}, "at most 256"),
     ({"kind": "edit", "image": "http://example.com/a.png"}, "not fetched"), ({"size": "32x64"}, "square"),
     ({"strange": 1}, "strange"), ({"candidates": True}, "candidates: send a number"), ({"keep": True}, "keep: send"),
     ({"seed": False}, "seed: send a number"), ({"seed": 2**53}, "9007199254740991")],
)  # fmt: skip
def test_bad_jobs_are_refused_before_they_are_kept(server: Running, asked: dict[str, Any], said: str) -> None:
    before = len(server.get("/api/jobs", params={"limit": 200}).json()["jobs"])
    answer = server.post("/api/jobs", json={"prompt": "a"} | asked)
    assert answer.status_code in (400, 404) and said in answer.json()["error"]["message"], answer.text
    assert len(server.get("/api/jobs", params={"limit": 200}).json()["jobs"]) == before


def pictures_at_rest(server: Running) -> tuple[Path, set[Path]]:
    """The folder of pictures and what is in it, once the jobs are done that other tests have left."""
    while server.context.jobs.live:
        time.sleep(0.02)
    folder = server.context.jobs.store.folder
    return folder, set(folder.iterdir())


def test_what_was_sent_is_kept_no_longer_than_a_job_needs_it(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = data_url(np.zeros((32, 32, 3), np.uint8))
    alpha = data_url(np.zeros((32, 32, 4), np.uint8), "RGBA")
    folder, before = pictures_at_rest(server)
    edit: dict[str, Any] = {"prompt": "a", "kind": "edit", "image": picture, "mask": alpha, "candidates": 1, "seed": 5}
    small = data_url(np.zeros((8, 8, 4), np.uint8), "RGBA")
    for wrong in ({"mask": picture.replace("png", "x")[:99]}, {"settings": {"n": 1}}, {"size": "32x64"},
                  {"recipes": ["dalle", "nobody"]}, {"mask": small}):  # fmt: skip
        assert server.post("/api/jobs", json=edit | wrong).status_code in (400, 404)
    assert set(folder.iterdir()) == before
    monkeypatch.setattr(server.context.admission, "budget", 0.0)
    monkeypatch.setattr(server.context.admission, "backlog", lambda client=None: 1.0)
    assert server.post("/api/jobs", json=edit).status_code == 429 and set(folder.iterdir()) == before
    monkeypatch.undo()
    jobs = submitted(server, **edit, recipes=["dalle", "other"])
    assert {ended(server, one["id"])["state"] for one in jobs} == {"done"}
    assert len(set(folder.iterdir()) - before) == 4  # two pictures, and what both were made from
    server.delete(f"/api/jobs/{jobs[0]['id']}")
    assert len(set(folder.iterdir()) - before) == 3
    server.delete(f"/api/jobs/{jobs[1]['id']}")
    assert set(folder.iterdir()) == before


def test_a_disk_that_gets_full_is_not_kept_full(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures of a job that were written before the one that found no room go again."""
    (folder, before), written = pictures_at_rest(server), list[Path]()

    def filling(path: Path, data: bytes) -> None:
        if len(written) == 2:
            raise PinxitError(f"cannot write {path}: No space left on device.")
        written.append(path)
        write_bytes(path, data)

    monkeypatch.setattr("pinxit.serve.job_results.write_bytes", filling)
    (job,) = submitted(server, candidates=3)
    found = ended(server, job["id"])
    assert found["state"] == "failed" and str(folder) not in found["error"]
    assert len(written) == 2 and set(folder.iterdir()) == before


def test_a_job_that_is_cancelled_while_its_pictures_are_written_leaves_none(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder, before), writing, cancelled = pictures_at_rest(server), threading.Event(), threading.Event()

    def slow(path: Path, data: bytes) -> None:
        writing.set()
        cancelled.wait(60)
        write_bytes(path, data)

    monkeypatch.setattr("pinxit.serve.job_results.write_bytes", slow)
    (job,) = submitted(server, candidates=1)
    task = server.context.jobs.live[job["id"]].task
    assert writing.wait(60) and task is not None
    server.post(f"/api/jobs/{job['id']}/cancel")
    cancelled.set()
    while not task.done():
        time.sleep(0.02)
    assert set(folder.iterdir()) == before


def test_what_was_sent_is_kept_whole_before_its_job_or_not_at_all(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder, before), done = pictures_at_rest(server), list[str]()
    picture, alpha = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 4), np.uint8)
    asked: dict[str, Any] = {"kind": "edit", "prompt": "a", "candidates": 1, "image": data_url(picture)}
    asked["mask"] = data_url(alpha, "RGBA")

    def filling(path: Path, data: bytes) -> None:
        if done:
            raise PinxitError(f"cannot write {path}: No space left on device.")
        done.append("a file")
        write_bytes(path, data)

    monkeypatch.setattr(job_requests, "write_bytes", filling)
    assert server.post("/api/jobs", json=asked).status_code == 500
    assert done == ["a file"] and set(folder.iterdir()) == before
    done.clear()

    def noting(what: str, call: Any) -> Any:
        def noted(*about: Any) -> Any:
            done.append(what)
            return call(*about)

        return noted

    for place, name, what in (
        (job_requests, "write_bytes", "a file"),
        (job_requests, "sync_folder", "their folder"),
        (records, "add", "the job"),
    ):
        monkeypatch.setattr(place, name, noting(what, write_bytes if name == "write_bytes" else getattr(place, name)))
    assert server.post("/api/jobs", json=asked).status_code == 202
    assert done == ["a file", "a file", "their folder", "the job"]


def test_others_do_not_wait_for_the_disk(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads are written and read beside the event loop, whose thread all requests share."""
    threads, read = [], Path.read_bytes

    def writing(path: Path, data: bytes) -> None:
        threads.append(threading.current_thread().name)
        write_bytes(path, data)

    def reading(path: Path) -> bytes:
        if path.suffix == ".png":
            threads.append(threading.current_thread().name)
        return read(path)

    monkeypatch.setattr("pinxit.serve.job_requests.write_bytes", writing)
    monkeypatch.setattr(Path, "read_bytes", reading)
    picture, alpha = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 4), np.uint8)
    (job,) = submitted(server, kind="edit", image=data_url(picture), mask=data_url(alpha, "RGBA"), candidates=1)
    assert ended(server, job["id"])["state"] == "done"
    assert len(threads) >= 4 and "test-server" not in threads


@contextmanager
def leaving_all(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server that makes no call before it ends, so that all its jobs are left to the next one, however small."""
    call = Engine._call
    with monkeypatch.context() as patch, running(data) as server:
        runner = server.context.dispatcher.runner

        def waiting(engine: Engine, chosen: list[WorkItem]) -> list[WorkItem]:
            while not runner.stopping:
                time.sleep(0.01)
            return call(engine, chosen)

        patch.setattr(Engine, "_call", waiting)
        yield server


def test_a_restart_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with leaving_all(tmp_path, monkeypatch) as first:
        names = [submitted(first, candidates=2, seed=k)[0]["id"] for k in range(4)]
    (tmp_path / "pictures" / f"{'0' * 32}.png").write_bytes(b"of nobody")
    (tmp_path / "pictures" / f".{'0' * 32}.png.1-2-3.part").write_bytes(b"half of one")
    (tmp_path / "pictures" / "holiday.png").write_bytes(b"of somebody")
    with running(tmp_path) as second:
        assert not (tmp_path / "pictures" / f"{'0' * 32}.png").exists()
        assert not list((tmp_path / "pictures").glob(".*"))
        assert (tmp_path / "pictures" / "holiday.png").exists()
        assert [ended(second, name)["state"] for name in names] == ["done"] * 4


def test_pictures_are_found_by_the_clip_that_is_served_now(tmp_path: Path) -> None:
    """Also those painted while another one of equal width was served, or none."""

    def without_clip() -> Catalog:
        return Catalog(list(catalog().models.values()))

    def with_another() -> Catalog:
        found = catalog()
        assert found.clip is not None
        for weights in found.clip.model.parameters():
            weights.mul_(-1.5)
        vars(found.clip).pop("fingerprint", None)  # of the weights as they were
        return Catalog(list(found.models.values()), found.clip)

    pictures: list[str] = []
    for opened in (without_clip, catalog):
        with running(tmp_path, opened) as server:
            (job,) = submitted(server, candidates=2, seed=len(pictures))
            pictures += [one["id"] for one in ended(server, job["id"])["pictures"]]
    (tmp_path / "pictures" / f"{pictures[1]}.png").write_bytes(b"damaged")
    with running(tmp_path, with_another) as server:
        for one in (pictures[0], *pictures[2:]):
            for _ in range(1200):
                found = server.post("/api/search", json={"image": one}).json()
                hits = found["hits"]
                assert len(hits) + found["unsearched"] == 4
                if len(hits) == 3:
                    break
                time.sleep(0.05)
            assert hits[0]["picture"] == one and hits[0]["score"] == pytest.approx(1, abs=1e-4)
        assert {one["picture"] for one in hits} == {*pictures} - {pictures[1]}


def test_a_job_that_cannot_be_read_any_more_does_not_keep_a_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with leaving_all(tmp_path, monkeypatch) as server:
        names = [submitted(server, candidates=1, seed=seed)[0]["id"] for seed in (1, 2)]

    async def plan_of_request(services: Any, store: Any, request: dict[str, Any]) -> PaintPlan:
        if request["seed"] == 1:
            raise KeyError("what an earlier version stored otherwise")
        return await job_requests.plan_of_request(services, store, request)

    monkeypatch.setattr("pinxit.serve.job_recovery.plan_of_request", plan_of_request)
    with running(tmp_path) as server:
        ends = [ended(server, name) for name in names]
    assert [one["state"] for one in ends] == ["failed", "done"] and "the server's log says what" in ends[0]["error"]


def test_a_decoder_that_dies_at_a_restart_loses_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent has been decoded before; the process may be killed, or too slow, at any time."""
    hole = np.full((32, 32, 4), 255, np.uint8)
    hole[16:, :, 3] = 0
    picture, mask = data_url(np.full((32, 32, 3), 127, np.uint8)), data_url(hole, "RGBA")
    with leaving_all(tmp_path, monkeypatch) as server:
        (job,) = submitted(server, kind="edit", image=picture, mask=mask, candidates=1)
    decode, failures = Uploads._decode, [EOFError(), TimeoutError(), EOFError()]

    async def failing(uploads: Uploads, data: bytes, param: str) -> Any:
        if failures:
            raise failures.pop()
        return await decode(uploads, data, param)

    monkeypatch.setattr(Uploads, "_decode", failing)
    monkeypatch.setattr(job_requests, "RECHECK_SECONDS", 0.02)
    with running(tmp_path) as server:
        assert ended(server, job["id"])["state"] == "done" and not failures


def killed_often(folder: Path, times: int) -> None:
    """Whatever was acknowledged is done at the end, once, and as it would have been without the kills."""
    save_random_checkpoint(folder / "nano")
    dice, names = random.Random(times), dict[str, dict[str, Any]]()
    for _ in range(times):
        server = Process(folder / "nano", folder / "data")
        killer = threading.Timer(dice.random() * max(1.5, server.started_in), server.kill)
        killer.start()
        try:
            while True:
                seed = dice.randrange(10**6)
                asked = {"prompt": "a red square", "seed": seed, "candidates": dice.randint(1, 6)}
                job = httpx.post(server.url + "/api/jobs", json=asked, timeout=30).json()["jobs"][0]
                names[job["id"]] = asked
                time.sleep(dice.random() * 0.2)
        except httpx.HTTPError:
            pass
        killer.join()
    assert len(names) >= times / 2, "too little was acknowledged between the kills"
    server = Process(folder / "nano", folder / "data")
    check_all_there(server, folder / "data", names)
    print(f"{times} kills: {len(names)} jobs acknowledged, each there once")
    assert server.kill(signal.SIGTERM) == -signal.SIGTERM  # as uvicorn ends: by the signal, after all is done


def check_all_there(server: Process, data: Path, names: dict[str, dict[str, Any]]) -> None:
    """Every job that was acknowledged is done, with the files that the same request gives now; none is there twice."""
    client = httpx.Client(base_url=server.url, timeout=600)
    for name, asked in names.items():
        found: dict[str, Any] = {"state": "queued"}
        while found["state"] == "queued":
            found = client.get(f"/api/jobs/{name}").json()
            time.sleep(0.02)
        assert found["state"] == "done", found
        assert len(found["pictures"]) == asked["candidates"]
        again = asked | {"n": asked["candidates"]}
        same = client.post("/v1/images/generations", json=again).json()["data"]
        for picture, other in zip(found["pictures"], same, strict=True):
            file = client.get(f"/{picture['url']}").content
            assert file == base64.b64decode(other["b64_json"])
    everything, more = [], {"limit": 200}
    while page := client.get("/api/jobs", params=more).json()["jobs"]:
        everything += page
        more["before"] = page[-1]["created"]
    client.close()
    files = {path.stem for path in (data / "pictures").glob("[0-9a-f]*.png")}
    pictures = [picture["id"] for job in everything for picture in job["pictures"]]
    assert names.keys() <= {job["id"] for job in everything}
    assert len(pictures) == len(set(pictures)) == sum(job["candidates"] for job in everything)
    assert set(pictures) == files, "a picture was written twice, or is gone"


class Poison:
    """A prompt whose call for tokens kills the process; here it hangs, and `died` takes what a kill would leave.

    No call of a job is made before `go_on` is set, so that all jobs that are stored wait at the same time.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.go_on, self.reached, self.dead, self.folder = (*(threading.Event() for _ in range(3)), folder)
        real = Engine._call

        def call(engine: Engine, chosen: list[WorkItem]) -> list[WorkItem]:
            served = [one for one in chosen if one.job.request is not None and one.job.client != WARM_UP]
            prompts = {one.job.request.prompt.text for one in served}
            assert not prompts or self.go_on.wait(60)
            if "poison" in prompts and chosen[0].stage.endswith("tokens"):
                self.reached.set()
                assert self.dead.wait(60)
            return real(engine, chosen)

        monkeypatch.setattr(Engine, "_call", call)

    def died(self, data: Path, *asked: dict[str, Any]) -> tuple[Path, list[str]]:
        """The folder that is left of `data` by a process that is also asked for jobs, and their names."""
        left = self.folder / str(len(list(self.folder.iterdir())))
        with running(data) as server:
            names = [submitted(server, **one)[0]["id"] for one in asked]
            self.go_on.set()
            assert self.reached.wait(60)
            shutil.copytree(data, left)
            self.dead.set()
        for event in (self.go_on, self.reached, self.dead):
            event.clear()
        return left, names


def test_three_deaths_lose_the_job_that_was_painted_and_none_that_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = Poison(monkeypatch, tmp_path)
    short: list[dict[str, Any]] = [{"candidates": 1, "seed": seed} for seed in range(3)]
    asked = [{"prompt": "poison", "candidates": 200}, *short]
    data, names = poison.died(tmp_path / "data", *asked)
    for _ in range(2):
        data, _ = poison.died(data)
    poison.go_on.set()
    with running(data) as server:
        found = [ended(server, name) for name in names]
    assert [one["state"] for one in found] == ["failed", "done", "done", "done"]
    assert "died 3 times" in found[0]["error"]


def test_jobs_that_share_the_calls_of_one_that_kills_outlive_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = Poison(monkeypatch, tmp_path)
    asked = [{"prompt": prompt, "candidates": 1} for prompt in ("a cat", "poison", "a dog")]
    data, names = poison.died(tmp_path / "data", *asked)
    for tries in (1, 2):
        assert stored_tries(data) == [tries] * 3
        data, _ = poison.died(data)
    assert stored_tries(data) == [3, 2]  # the first was done, as it was tried alone
    poison.go_on.set()
    with running(data) as server:
        assert [ended(server, name)["state"] for name in names] == ["done", "failed", "done"]


def test_jobs_that_wait_for_their_last_try_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In admission control, as work and by the uploads that they hold; also when they are cancelled meanwhile."""
    hole = np.full((32, 32, 4), 255, np.uint8)
    hole[16:, :, 3] = 0
    picture, mask = data_url(np.full((32, 32, 3), 127, np.uint8)), data_url(hole, "RGBA")
    asked: dict[str, Any] = {"kind": "edit", "image": picture, "mask": mask, "candidates": 1}
    with leaving_all(tmp_path, monkeypatch) as server:
        names = [submitted(server, **asked)[0]["id"] for _ in range(3)]
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as base, base:
        base.execute("UPDATE jobs SET tries = 2")
    go_on, call = threading.Event(), Engine._call

    def waiting(engine: Engine, chosen: list[WorkItem]) -> list[WorkItem]:
        assert chosen[0].job.client == WARM_UP or go_on.wait(60)
        return call(engine, chosen)

    monkeypatch.setattr(Engine, "_call", waiting)
    with running(tmp_path) as server:
        admission, handles = server.context.admission, server.context.dispatcher.handles
        while not handles:
            time.sleep(0.02)
        painted, waiting_uploads = len(handles), [job.request.more is not None for job in admission.reserved]
        cancelled = server.delete(f"/api/jobs/{names[2]}").json()["jobs"][0]["state"]
        go_on.set()
        assert (painted, waiting_uploads, cancelled) == (1, [True, True], "cancelled")
        assert [ended(server, name)["state"] for name in names] == ["done", "done", "cancelled"]
        while admission.reserved:
            time.sleep(0.02)


def test_an_end_in_order_counts_no_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever begins while the server ends: tries are forgotten when the engine has stopped. Ready or not."""
    reset, alive = records.reset_attempts, list[bool]()
    with running(tmp_path) as server:
        runner = server.context.dispatcher.runner

        def reset_attempts(base: sqlite3.Connection) -> None:
            alive.append(runner.is_alive())
            reset(base)

        monkeypatch.setattr(records, "reset_attempts", reset_attempts)
        names = [submitted(server, candidates=200)[0]["id"] for _ in range(2)]
        while server.get(f"/api/jobs/{names[0]}").json()["share"] == 0:
            time.sleep(0.02)
    assert alive == [False] and stored_tries(tmp_path) == [0, 0]
    ended_while_jobs_are_begun_again(tmp_path, monkeypatch)
    assert len(alive) == 2 and stored_tries(tmp_path) == [0, 0]


def ended_while_jobs_are_begun_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two is under way; the second cannot be planned yet, so that the server is not ready."""
    planned, plan = list[Any](), job_requests.plan_of_request

    async def slow(*about: Any) -> PaintPlan:
        planned.append(about)
        if len(planned) > 1:
            await asyncio.sleep(3600)
        return await plan(*about)

    monkeypatch.setattr(job_recovery, "plan_of_request", slow)
    server = make_server(Settings(port=0, data=str(folder)), catalog)
    thread = threading.Thread(target=server.run)
    thread.start()
    while len(planned) < 2 or not server.app.state.opened.dispatcher.runner.engine.started:
        time.sleep(0.02)
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def test_an_end_by_an_error_of_the_engine_counts_the_try(tmp_path: Path) -> None:
    """Or a job that kills every process would be begun again for ever."""

    def failing(states: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with running(tmp_path) as server:
        server.context.catalog.graph["dalle/tokens"].worker.step = failing  # type: ignore[method-assign]
        submitted(server, candidates=1)
        while not server.server.should_exit:
            time.sleep(0.02)
    assert stored_tries(tmp_path) == [1]


def stored_tries(data: Path) -> list[int]:
    """Of unfinished jobs, the oldest first."""
    with closing(sqlite3.connect(data / "jobs.sqlite")) as base:
        return [one.tries for one in records.unfinished(base)]


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    killed_often(tmp_path, 2)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    killed_often(tmp_path, 200)


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX signal")
def test_a_signal_lets_what_is_painted_finish(tmp_path: Path) -> None:
    """An API picture that is under way is told; a job of the page stays for the next process."""
    save_random_checkpoint(tmp_path / "nano")
    server = Process(tmp_path / "nano", tmp_path / "data")
    answers: list[int] = []
    asked = {"prompt": "a cat", "candidates": 200}
    thread = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{server.url}/v1/images/generations", json=asked, timeout=60).status_code
        )
    )
    thread.start()
    time.sleep(0.4)
    job = httpx.post(f"{server.url}/api/jobs", json=asked | {"candidates": 256}).json()["jobs"][0]
    assert server.kill(signal.SIGTERM) == -signal.SIGTERM  # as uvicorn ends: by the signal, after all is done
    thread.join()
    assert answers == [200]
    again = Process(tmp_path / "nano", tmp_path / "data")
    assert httpx.get(f"{again.url}/api/jobs/{job['id']}").json()["state"] in ("queued", "done")
    again.kill(signal.SIGTERM)

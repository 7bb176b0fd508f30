"""Who is let in, by which name, from which page, and with how much."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import pytest

from pinxit.errors import UsageError
from pinxit.serve.keys import Keys, add_key, hash_key
from pinxit.serve.protocol import limited_protocol
from tests.serve.running import Running, running

if TYPE_CHECKING:
    from pinxit.serve.catalog import ServerJob
    from pinxit.serve.dispatcher import JobHandle

ASK = {"prompt": "a red square", "candidates": 1, "seed": 1}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    folder = tmp_path_factory.mktemp("keys")
    key = add_key(folder / "keys", "alice")
    (folder / "keys").write_text((folder / "keys").read_text().rstrip() + " weight=4\n")
    changes = {"api_keys": str(folder / "keys"), "body_mb": 0.01, "origins": ("https://Friend.example/",),
               "hosts": ("Pictures.Example", "ported.example:8443")}  # fmt: skip
    with running(folder / "data", **changes) as found:
        yield found, key


def test_a_key_is_asked_for_and_never_told(locked: tuple[Running, str]) -> None:
    server, key = locked
    for headers, said in (({}, "needs a key"), ({"authorization": "Bearer wrong-key-1"}, "not known"),
                          ({"authorization": f"Basic {key}"}, "not known")):  # fmt: skip
        answer = server.post("/v1/images/generations", json=ASK, headers=headers)
        assert answer.status_code == 401 and said in answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == "invalid_api_key" and "wrong-key-1" not in answer.text
    assert server.get("/v1/models").status_code == 401
    assert server.get("/live").status_code == 200
    fine = server.post("/v1/images/generations", json=ASK, headers={"authorization": f"Bearer {key}"})
    assert fine.status_code == 200


def test_the_weight_of_a_key_counts_for_jobs_too(locked: tuple[Running, str], monkeypatch: pytest.MonkeyPatch) -> None:
    server, key = locked
    dispatcher, weights, started = server.context.dispatcher, [], threading.Event()
    submit = dispatcher.submit

    def heard(job: ServerJob, *rest: Any, **how: Any) -> JobHandle:
        weights.append(job.weight)
        started.set()
        return submit(job, *rest, **how)

    monkeypatch.setattr(dispatcher, "submit", heard)
    headers = {"authorization": f"Bearer {key}"}
    for priority, weight in (("interactive", 32.0), ("batch", 4.0)):
        weights.clear()
        started.clear()
        asked = {"prompt": "a cat", "candidates": 1, "priority": priority}
        (job,) = server.post("/api/jobs", json=asked, headers=headers).json()["jobs"]
        assert started.wait(30)
        while server.get(f"/api/jobs/{job['id']}", headers=headers).json()["state"] == "queued":
            time.sleep(0.02)
        assert weights == [weight, weight]  # to paint, and to look at what was painted


def test_keys_are_kept_as_hashes(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "alice")
    other = add_key(tmp_path / "keys", "bob.b")
    text = (tmp_path / "keys").read_text()
    assert key not in text and other not in text and (tmp_path / "keys").stat().st_mode & 0o077 == 0
    keys = Keys.read(tmp_path / "keys")
    found = [keys.caller(one) for one in (key, other, "", key[:-1])]
    assert [one and one.name for one in found] == ["key:alice", "key:bob.b", None, None]
    with pytest.raises(UsageError, match="no name for a key"):
        add_key(tmp_path / "keys", "two words")
    (tmp_path / "keys").write_text(f"carol sha256:{hash_key('k').hex()}")  # written by hand, without a line's end
    dave = add_key(tmp_path / "keys", "dave")
    found = [Keys.read(tmp_path / "keys").caller(one) for one in ("k", dave)]
    assert [one and one.name for one in found] == ["key:carol", "key:dave"]
    (tmp_path / "keys").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        add_key(tmp_path / "keys", "eve")
    (tmp_path / "keys").write_text(f"carol sha256:{hash_key('k').hex()} weight=4\n# a note\n")
    carol = Keys.read(tmp_path / "keys").caller("k")
    assert carol is not None and carol.weight == 4
    for line in ("carol k", f"carol sha256:{hash_key('k').hex()} weight=0"):
        (tmp_path / "keys").write_text(f"{line}\n")
        with pytest.raises(UsageError, match="key 1: write NAME sha256:HASH"):
            Keys.read(tmp_path / "keys")


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:80", 200), ("pictures.example", 200), ("10.0.0.7", 200),
     ("ported.example:8443", 200), ("ported.example", 200),
     ("evil.example", 403), ("localhost.evil.example", 403), ("a@localhost", 403), ("", 403)],
)  # fmt: skip
def test_names_that_could_be_made_to_lead_here(locked: tuple[Running, str], host: str, status: int) -> None:
    assert locked[0].get("/live", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("null", 403), ("https://evil.example", 403), ("https://friend.example", 200), ("", 403), ("http://[", 403)],
)
def test_pages_of_strangers(locked: tuple[Running, str], origin: str, status: int) -> None:
    assert locked[0].get("/live", headers={"origin": origin}).status_code == status


def test_a_friends_page_may_read_and_others_may_not_even_ask(locked: tuple[Running, str]) -> None:
    for origin, status in (("https://friend.example", 204), ("https://evil.example", 403)):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        answer = httpx.request("OPTIONS", locked[0].url + "/v1/images/generations", headers=headers)
        assert answer.status_code == status
        assert (answer.headers.get("access-control-allow-origin") == origin) == (status == 204)
    assert "access-control-allow-origin" not in locked[0].get("/live", headers={"origin": locked[0].url}).headers


def test_pictures_behind_urls_are_shown_on_any_page_and_read_by_those_of_friends(locked: tuple[Running, str]) -> None:
    """A browser tells no Origin for an <img>; what it then holds, it gives to scripts only if told what differs."""
    server, _ = locked
    stored = server.context.jobs.store.file("0" * 32)
    stored.write_bytes(b"x")
    for path in ("/files/" + server.context.url_files.put(b"x", "png"), f"/pictures/{stored.name}"):
        answer, friends = server.get(path), server.get(path, headers={"origin": "https://friend.example"})
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin" and answer.content == b"x"
        assert answer.headers["vary"] == friends.headers["vary"] == "origin"
        assert friends.headers["access-control-allow-origin"] == "https://friend.example"
    for path in ("/live", "/v1/models", "/", "/files/none"):
        assert server.get(path).headers["cross-origin-resource-policy"] == "same-origin"
    stored.unlink()


def test_our_own_page(locked: tuple[Running, str]) -> None:
    assert locked[0].get("/live", headers={"origin": locked[0].url}).status_code == 200


def test_a_body_is_counted_whether_it_says_its_size_or_not(locked: tuple[Running, str]) -> None:
    server, key = locked
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    big = json.dumps(ASK | {"user": "x" * 20_000}).encode()

    def in_parts() -> Iterator[bytes]:
        yield from (big[k : k + 1000] for k in range(0, len(big), 1000))

    for content in (big, in_parts()):
        answer = server.post("/v1/images/generations", content=content, headers=headers)
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"
        assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits", "/nowhere"])
def test_who_is_refused_while_sending_reads_why(locked: tuple[Running, str], path: str) -> None:
    """Much more than the buffers between hold: a server that closes at once breaks the connection under its client."""
    address, size = ("127.0.0.1", int(locked[0].url.rsplit(":", 1)[1])), 2**24
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n"
    with socket.create_connection(address, timeout=60) as client:
        for _ in range(2):  # by the same connection
            client.sendall(f"{head}\r\n".encode())
            client.sendall(bytes(size))
            answer = client.recv(2**16)
            assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
            while b'"code"' not in answer:
                answer += client.recv(2**16)
    with socket.create_connection(address, timeout=60) as client:  # one that asks before it sends
        client.sendall(f"{head}expect: 100-continue\r\n\r\n".encode())
        assert client.recv(2**16).startswith(b"HTTP/1.1 413")


def test_every_answer_has_a_number_and_every_error_the_envelope(server: Running) -> None:
    numbers = set()
    for path in ("/live", "/nowhere", "/v1/models/none", "/files/../../etc/passwd", "/files/" + "0" * 32 + ".png"):
        answer = httpx.get(server.url + path)
        numbers.add(answer.headers["x-request-id"])
        if answer.status_code != 200:
            error = answer.json()["error"]
            assert answer.status_code == 404 and error.keys() == {"message", "type", "param", "code"}
            assert error["type"] == "not_found_error" and len(answer.content) < 4096
    assert len(numbers) == 5
    assert server.get("/v1/images/generations").status_code == 405


@pytest.mark.parametrize("path", ["/", "/live", "/metrics", "/v1/models", "/web/main.js", "/nowhere", "/v1/embeddings"])
def test_head_is_answered_as_get_without_the_body(server: Running, path: str) -> None:
    got, head = (httpx.request(method, server.url + path, timeout=60) for method in ("GET", "HEAD"))
    assert head.status_code == got.status_code and head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    assert path == "/metrics" or head.headers["content-length"] == got.headers["content-length"]


def test_head_of_a_stream_ends(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=60) as client:
        client.sendall(b"HEAD /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200") and b"text/event-stream" in answer and answer.endswith(b"\r\n\r\n")
        assert well(client)
    while server.context.jobs.feeds.open:
        time.sleep(0.02)


def test_a_browser_keeps_a_picture_no_longer_than_the_server(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    name, now = server.context.url_files.put(b"x", "png"), time.time()
    for since, least, most in ((0, 600, 600), (3590, 0, 10)):
        monkeypatch.setattr("pinxit.serve.url_files.time.time", lambda since=since: now + since)
        held = server.get(f"/files/{name}").headers["cache-control"].removeprefix("private, max-age=")
        assert least <= int(held) <= most


def test_long_and_strange_input_is_not_echoed(server: Running) -> None:
    for body in (b'{"prompt": "' + b"x" * 40_000 + b'"}', b"{", b"[]", b"\x00", b'{"prompt": 1}', b"null",
                 b'{"prompt": "a", "n": "many"}', b"[" * 5000):  # fmt: skip
        answer = server.post("/v1/images/generations", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, body[:30]
        assert len(answer.content) < 1024 and b"xxx" not in answer.content and b"many" not in answer.content
    for prompt in ("a\x00b", "\ud800"):
        answer = server.post("/v1/images/generations", content=json.dumps(ASK | {"prompt": prompt}))
        assert answer.status_code in (400, 200) and answer.headers["content-type"] == "application/json"


def well(connection: socket.socket, more: bytes = b"") -> bool:
    """Whether it answers a request, with which `more` is sent."""
    connection.sendall(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n" + more)
    found = b""
    while not found.endswith(b"}"):
        found += connection.recv(4096)
    return b"200 OK" in found


PART = b"POST /api/search HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"


def test_so_many_connections_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_protocol, "__defaults__", (2.0,))  # seconds of silence
    with running(tmp_path, connections=3) as server:
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        assert server.get("/live").status_code == 200  # a process's first client takes longer than that silence may
        with socket.create_connection(address) as answered, socket.create_connection(address) as silent:
            assert well(answered)
            with socket.create_connection(address) as slow:
                slow.sendall(PART)
                time.sleep(0.1)
                answer = server.get("/live")
                assert answer.status_code == 503 and "connections" in answer.json()["error"]["message"]
                assert int(answer.headers["retry-after-ms"]) > 0
                for one in (silent, slow):  # who says nothing is let go, in the middle of a request too
                    one.settimeout(60)
                    assert one.recv(4096) == b""
            assert server.get("/live").status_code == 200
            assert well(answered)  # who waits between two requests is not
            with socket.create_connection(address) as ahead:
                answered.sendall(PART[:9])
                assert well(ahead, PART)  # before the first request was answered
                for one in (answered, ahead):  # who falls silent in the middle of the second is
                    one.settimeout(60)
                    assert one.recv(4096) == b""


def test_health_and_metrics(server: Running) -> None:
    assert server.get("/live").json() == {"live": True} and server.get("/ready").json() == {"ready": True}
    server.post("/v1/images/generations", json=ASK)
    lines = dict(line.rsplit(" ", 1) for line in server.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(lines['pinxit_jobs_total{outcome="done",recipe="dalle"}']) >= 1
    assert float(lines["pinxit_backlog_seconds"]) == 0 and float(lines["pinxit_jobs"]) == 0
    used, padded = (
        float(lines[f'pinxit_rows_total{{kind="{kind}",stage="dalle/tokens"}}']) for kind in ("used", "padded")
    )
    assert used > 0 and padded > 0 and float(lines['pinxit_busy_seconds_total{stage="dalle/tokens"}']) > 0
    assert float(lines["pinxit_picture_seconds_count"]) >= 1

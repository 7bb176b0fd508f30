"""Pictures at URLs of clients': from listed hosts alone, whatever redirects and names that change try."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinxit.errors import UsageError
from pinxit.pictures import png_bytes
from pinxit.serve import fetch
from pinxit.serve.errors import RefusedError
from pinxit.serve.fetch import AllowList, Fetcher, NotFetchedError
from tests.serve.running import running

PICTURE = png_bytes(np.zeros((32, 32, 3), np.uint8), {})
PUBLIC = "93.184.215.14"


class Handler(BaseHTTPRequestHandler):
    """Whatever a stranger's server may do."""

    def do_GET(self) -> None:
        self.server.heard.append((self.path, self.headers))  # type: ignore[attr-defined]
        kind, _, rest = self.path[1:].partition("?")
        if kind == "to":
            self.send_response(302)
            self.send_header("location", rest)
            self.end_headers()
            return
        self.send_response(404 if kind == "nothing" else 200)
        if kind == "picture":
            self.send_header("content-length", str(len(PICTURE)))
        elif kind in ("cut", "drip"):
            self.send_header("content-length", "1000")
        elif kind == "huge":
            self.send_header("content-length", str(2**40))
        self.end_headers()
        if kind == "drip":
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write({"picture": PICTURE, "endless": b"x" * 300_000}.get(kind, b"xx"))

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.heard = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def url(site: Any) -> str:
    return f"http://127.0.0.1:{site.server_port}"


def fetched(given: str, *hosts: str, seconds: float = 20.0) -> bytes:
    async def play() -> bytes:
        fetcher = Fetcher(hosts, 100_000)
        fetcher.seconds = seconds
        return await fetcher.data(given, "image")

    return asyncio.run(play())


def refused(given: str, *hosts: str, **how: Any) -> None:
    with pytest.raises(RefusedError, match="not one that this server fetches") as error:
        fetched(given, *hosts, **how)
    assert error.value.code == "invalid_image_url" and error.value.status == 400
    assert "127.0.0.1" not in error.value.message


def test_a_listed_address_is_fetched_and_nothing_by_default(site: Any, url: str) -> None:
    assert fetched(f"{url}/picture", f"127.0.0.1:{site.server_port}") == PICTURE
    path, headers = site.heard[-1]
    assert path == "/picture" and headers["host"] == url.removeprefix("http://") and "cookie" not in headers
    before = len(site.heard)
    with pytest.raises(RefusedError, match="other URLs are not fetched"):
        fetched(f"{url}/picture")
    refused(f"{url}/picture", "127.0.0.1:1")
    refused(f"{url}/picture", "pictures.example.org")
    refused(f"http://user@127.0.0.1:{site.server_port}/picture", "127.0.0.0/8")
    refused(f"ftp://127.0.0.1:{site.server_port}/picture", "127.0.0.0/8")
    assert len(site.heard) == before


def test_what_is_no_answer_is_refused(url: str) -> None:
    for kind in ("nothing", "cut", "huge", "endless"):
        refused(f"{url}/{kind}", "127.0.0.0/8")
    began = time.monotonic()
    refused(f"{url}/drip", "127.0.0.0/8", seconds=0.5)
    assert time.monotonic() - began < 4
    refused("http://127.0.0.1:9/picture", "127.0.0.0/8")


def test_waiting_for_others_is_not_a_fetchs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(fetcher: Fetcher, url: str) -> bytes:
        time.sleep(0.1)
        return PICTURE

    monkeypatch.setattr(Fetcher, "_fetch", slow)

    async def play() -> None:
        fetcher = Fetcher(["pictures.example"], 100_000)
        fetcher.seconds = 0.5  # and one more for a thread to stop itself
        found = await asyncio.gather(*(fetcher.data("http://pictures.example/a.png", "image") for _ in range(72)))
        assert found == [PICTURE] * 72  # 1.8 s in four threads

    asyncio.run(play())


def test_a_redirect_passes_every_check_again(site: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(f"{url}/to?/picture", "127.0.0.0/8") == PICTURE
    assert fetched(f"{url}/to?/to?/to?/picture", "127.0.0.0/8") == PICTURE
    refused(f"{url}/to?/to?/to?/to?/picture", "127.0.0.0/8")
    before = len(site.heard)
    for leads in ("http://169.254.169.254/latest", "http://[::1]/", "file:///etc/passwd", "gopher://127.0.0.1/"):
        refused(f"{url}/to?{leads}", f"127.0.0.1:{site.server_port}")
    assert len(site.heard) == before + 4


def test_a_name_that_leads_within_is_refused_unless_that_is_listed(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_resolve", lambda host, port: [ipaddress.ip_address("127.0.0.1")])
    given = f"http://pictures.example:{site.server_port}/picture"
    name = f"pictures.example:{site.server_port}"
    refused(given, name)
    assert fetched(given, name, "127.0.0.0/8") == PICTURE
    assert site.heard[-1][1]["host"] == name


def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to the outside first and within at the second asking (DNS rebinding)."""
    asked, connected = [], []

    def resolve(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return [(0, 0, 0, "", (PUBLIC if len(asked) == 1 else "127.0.0.1", port))]

    def connect(where: tuple[str, int], *_: Any, **__: Any) -> Any:
        connected.append(where)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    refused("http://pictures.example/a.png", "pictures.example")
    assert asked == ["pictures.example"] and connected == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
     "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
     "2001:0:4136:e378:8000:63bf:3fff:fdd2", "::"],
)  # fmt: skip
def test_addresses_within_are_known_however_they_are_written(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_resolve", lambda host, port: [ipaddress.ip_address(address)])
    with pytest.raises(NotFetchedError, match="no public address"):
        AllowList(["a.example"]).target("https://a.example/")
    with pytest.raises(NotFetchedError, match="no public address"):
        AllowList(["a.example"]).target(f"https://{f'[{address}]' if ':' in address else address}/")
    for public in (PUBLIC, "2606:4700::6810:84e5", "::ffff:93.184.215.14"):
        monkeypatch.setattr(fetch, "_resolve", lambda host, port, public=public: [ipaddress.ip_address(public)])
        assert AllowList(["a.example"]).target("https://a.example/").address == str(ipaddress.ip_address(public))


@pytest.mark.parametrize(
    ("hosts", "url", "yes"),
    [("a.example", "https://a.example/p", True), ("a.example", "https://A.EXAMPLE./p", True),
     ("a.example", "https://b.a.example/p", False), ("*.example", "https://a.example/p", True),
     ("*.example", "https://example/p", False), ("*.example", "https://evilexample/p", False),
     ("a.example", "https://a.example:8443/p", False), ("a.example:8443", "https://a.example:8443/p", True),
     ("a.example:8443", "https://a.example/p", False), ("a.example", "https://a.example@b.example/p", False),
     ("a.example", "https://b.example/#a.example", False), ("a.example", "https://a.example\\@b.example/", False),
     ("münchen.example", "https://MÜNCHEN.example/p", True),
     ("*.münchen.example", "https://a.xn--mnchen-3ya.example/p", True),
     ("münchen.example", "https://munchen.example/p", False),
     ("a.example", f"https://a.example/{'p' * 5000}", False)],
)  # fmt: skip
def test_which_hosts_are_listed(hosts: str, url: str, yes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_resolve", lambda host, port: [ipaddress.ip_address(PUBLIC)])
    if yes:
        assert AllowList([hosts]).target(url).address == PUBLIC
    else:
        with pytest.raises(NotFetchedError):
            AllowList([hosts]).target(url)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*.",
        "a b",
        "https://a.example",
        "a.example:0",
        "a.example:x",
        "a.example:²",
        "*.*.example",
        "a..example",
        "ü" * 300,
    ],
)
def test_what_is_no_host_is_said_at_the_start(host: str) -> None:
    with pytest.raises(UsageError, match="fetch_from"):
        AllowList([host])


def test_routes_that_take_pictures_take_urls(site: Any, url: str, tmp_path: Path) -> None:
    with running(tmp_path, fetch_from=("127.0.0.0/8",)) as server:
        link = f"{url}/picture"
        for asked in ({"image": link, "labels": ["cat"]}, {"image": f"{url}/to?http://10.0.0.1/", "labels": ["cat"]}):
            answer = server.post("/api/classify", json=asked)
            assert answer.status_code == (200 if asked["image"] == link else 400), answer.text
        answer = server.post("/v1/images/edits", json={"images": [{"image_url": link}], "prompt": "a cat"})
        assert answer.status_code == 400 and "mask" in answer.json()["error"]["message"]
        answer = server.post("/v1/images/edits", json={"images": [{"image_url": link}] * 2, "prompt": "a cat"})
        assert answer.status_code == 400 and "one picture" in answer.json()["error"]["message"]

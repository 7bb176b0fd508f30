"""Behind the proxies of deploy/, as they are written there, below a path: where nginx or caddy is installed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from pinxit.serve.settings import Settings
from tests.serve.running import Running, running
from tests.serve.test_page import browser, browsing

__all__ = ["browser"]
DEPLOY = Path(__file__).parents[2] / "deploy"
NAME = "pictures.example.org"
LONG: dict[str, Any] = {"candidates": 3_000, "seed": 1}
NGINX = """daemon off; error_log stderr; pid {folder}/nginx.pid; worker_processes 1; events {{}}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; include {folder}/pinxit.conf; }}"""


@dataclass
class Behind:
    """A server, and where its proxy is to be found."""

    name: str
    server: Running
    url: str

    @property
    def client(self) -> openai.OpenAI:
        """Of OpenAI."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=1e6)

    def idle(self) -> bool:
        """Whether nothing is painted any more, after a while."""
        for _ in range(600):
            if not self.server.context.dispatcher.handles:
                return True
            time.sleep(0.05)
        return False


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    """The command of an nginx for the site of deploy/."""
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert site.count("listen 80;") == site.count("127.0.0.1:8000") == 1
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:8000", upstream)
    (folder / "pinxit.conf").write_text(site)
    user = "user root; " if os.geteuid() == 0 else ""  # else it becomes one who may not write here
    (folder / "nginx.conf").write_text(user + NGINX.format(folder=folder))
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    """The command of a caddy for the site of deploy/."""
    site = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    assert site.count(f"http://{NAME} {{") == site.count("127.0.0.1:8000") == 1
    site = site.replace(f"http://{NAME} {{", f"http://{NAME}:{port}, http://127.0.0.1:{port} {{")
    head = "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n"
    (folder / "Caddyfile").write_text(head + site.replace("127.0.0.1:8000", upstream))
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    how = {"root_path": "/pinxit", "hosts": (NAME,), "body_mb": 1.0, "most_candidates": 3_000, "budget_seconds": 1e9}
    with running(tmp_path_factory.mktemp("behind"), **how) as found:
        yield found


@pytest.fixture(scope="module", params=[nginx, caddy])
def behind(
    request: pytest.FixtureRequest, served: Running, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Behind]:
    make: Callable[[Path, int, str], list[str]] = request.param
    if shutil.which(make.__name__) is None:
        pytest.skip(f"there is no {make.__name__} here")
    folder = tmp_path_factory.mktemp(make.__name__)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = make(folder, port, served.url.removeprefix("http://"))
    home = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = subprocess.Popen(command, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the proxy ended"
            time.sleep(0.05)
        yield Behind(make.__name__, served, f"http://127.0.0.1:{port}/pinxit")
    finally:
        process.terminate()
        process.wait(30)


def test_the_limit_of_uploads_is_the_servers() -> None:
    """What nginx refuses by itself comes as a page that no client can read."""
    (limit,) = re.findall(r"client_max_body_size (\d+)m;", (DEPLOY / "nginx.conf").read_text(encoding="utf-8"))
    assert Settings().body_mb < int(limit) <= Settings().body_mb + 1


def test_pictures_and_their_urls(behind: Behind) -> None:
    told = behind.client.images.generate(prompt="a cat", response_format="url", extra_body={"candidates": 1, "seed": 1})
    assert told.data and told.data[0].url and told.data[0].url.startswith(f"{behind.url}/files/")
    assert httpx.get(told.data[0].url).content.startswith(b"\x89PNG")
    host = f"{NAME}:{behind.url.split(':')[2].split('/')[0]}"
    asked = {"prompt": "a cat", "response_format": "url", "candidates": 1, "seed": 1}
    spoofed = {"host": host, "origin": f"http://{host}", "x-forwarded-proto": "https"}
    answer = httpx.post(f"{behind.url}/v1/images/generations", json=asked, headers=spoofed, timeout=300)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["url"].startswith(f"http://{host}/pinxit/files/")


def test_looks_come_as_they_are_painted_and_a_client_that_leaves_is_heard_of(behind: Behind) -> None:
    how: dict[str, Any] = {"extra_body": LONG, "extra_headers": {"x-forwarded-for": "192.0.2.7"}}
    with behind.client.images.generate(prompt="a cat", stream=True, partial_images=3, **how) as stream:
        assert next(iter(stream)).type == "image_generation.partial_image"
        clients = [job.client for job in behind.server.context.dispatcher.handles]
        assert clients == ["address:127.0.0.1"]  # not what it says
    assert behind.idle()


def test_a_stream_that_breaks_off_is_no_end(behind: Behind) -> None:
    state = behind.server.server.server_state
    heard, broken = [], False
    try:
        for event in behind.client.images.generate(prompt="a cat", stream=True, partial_images=3, extra_body=LONG):
            heard.append(event.type)
            for connection in list(state.connections):
                behind.server.context.dispatcher.loop.call_soon_threadsafe(connection.transport.abort)
    except (openai.APIError, httpx.TransportError):
        broken = True
    assert set(heard) == {"image_generation.partial_image"} and behind.idle()
    assert broken or behind.name == "caddy"  # which tells its client an end (2.6)


def test_events_come_at_once(behind: Behind) -> None:
    with httpx.stream("GET", f"{behind.url}/api/events", timeout=60) as answer:
        assert next(answer.iter_bytes()) == b": connected\n\n"  # not with what comes a beat later


@pytest.mark.parametrize("megabytes", [0.5, 3, 30])
def test_what_is_too_large_is_refused_by_the_server(behind: Behind, megabytes: float) -> None:
    files = {"image": ("p.png", bytes(int(megabytes * 2**20)))}
    answer = httpx.post(f"{behind.url}/v1/images/edits", data={"prompt": "a"}, files=files, timeout=300)
    code = answer.json()["error"]["code"]
    assert (answer.status_code, code) == ((400, "invalid_image") if megabytes < 1 else (413, "request_too_large"))


def test_what_is_passed_on(behind: Behind) -> None:
    root = behind.url.removesuffix("/pinxit")
    found = [httpx.get(root + path) for path in ("/pinxit/live", "/pinxit/metrics", "/live")]
    assert [one.status_code for one in found[:2]] == [200, 404] and "live" not in found[2].text
    assert "pinxit_" not in found[1].text
    assert httpx.get(behind.url, follow_redirects=True).text == httpx.get(f"{behind.url}/").text


@browsing
def test_the_page(browser: Any, behind: Behind) -> None:
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{behind.url}/")
    page.wait_for_selector("#recipes button")
    page.fill("#prompt", "a red square behind a proxy")
    page.locator("#candidates").fill("2")
    page.keyboard.press("Enter")
    page.locator(".job .tile[data-picture]").first.wait_for()
    assert page.locator(".job .tile img").first.evaluate("image => image.naturalWidth") > 0
    page.close()

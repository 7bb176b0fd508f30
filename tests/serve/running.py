"""A server of tiny random models in a thread of the tests' process, and clients for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.serve.catalog import Catalog, Model
from pinxit.serve.server import Server, make_server
from pinxit.serve.settings import Settings
from tests.recipes.painters import random_painter

if TYPE_CHECKING:
    from pinxit.serve.context import Context


def catalog() -> Catalog:
    """Two DALL-Es, and a CLIP."""
    one, other = random_painter(), random_painter(rows=4)
    length = one.clip.config.text.tokens
    clip = ClipEncoder(one.clip, lambda texts, cut: one.tokenizer.encode_clip(texts, length), "nano", "cpu", batch=4)
    return Catalog([Model("dalle", one), Model("other", other)], clip)


class Running:
    """A server that has started."""

    def __init__(self, server: Server, url: str) -> None:
        self.server, self.url = server, url

    @property
    def context(self) -> Context:
        """What its routes share."""
        found: Context = self.server.app.state.context
        return found

    def get(self, path: str, **how: Any) -> httpx.Response:
        """One request."""
        return httpx.get(self.url + path, timeout=60, **how)

    def post(self, path: str, **how: Any) -> httpx.Response:
        """One request."""
        return httpx.post(self.url + path, timeout=60, **how)

    def delete(self, path: str) -> httpx.Response:
        """One request."""
        return httpx.delete(self.url + path, timeout=60)

    def patch(self, path: str, **how: Any) -> httpx.Response:
        """One request."""
        return httpx.patch(self.url + path, timeout=60, **how)


@contextmanager
def running(folder: Path, opened: Any = catalog, **changes: Any) -> Iterator[Running]:
    """Serve until the end of the block."""
    settings = replace(Settings(port=0, data=str(folder), candidates=2, drain_seconds=2.0), **changes)
    server = make_server(settings, opened)
    thread = threading.Thread(target=server.run, name="test-server")
    thread.start()
    try:
        yield Running(server, _ready(server, thread))
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def _ready(server: Server, thread: threading.Thread) -> str:
    for _ in range(60000):  # replicas take their time on a busy machine
        assert thread.is_alive(), "the server ended"
        if server.started and getattr(server.app.state, "context", None) is not None:
            port = server.servers[0].sockets[0].getsockname()[1]
            return f"http://127.0.0.1:{port}"
        time.sleep(0.01)
    raise AssertionError("the server does not start")

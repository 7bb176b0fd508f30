from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Iterator
from functools import cache

import pytest

pytest.importorskip("fastapi")

import uvicorn

from tests.cli.helpers import cli as cli
from tests.serve.running import Running, running


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """A client reads all that the system trusts, which takes longer than most requests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def servers_end_at_once() -> Iterator[None]:
    """A server looks ten times a second whether it is to end, and more than a hundred are ended."""

    async def main_loop(server: uvicorn.Server) -> None:
        for count in itertools.count():
            if await server.on_tick(count // 10):
                return
            await asyncio.sleep(0.01)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "main_loop", main_loop)
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One for all tests that change nothing in it."""
    with running(tmp_path_factory.mktemp("serve")) as found:
        yield found

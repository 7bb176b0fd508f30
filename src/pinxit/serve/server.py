"""The process: uvicorn over the application, ended without cutting what is under way."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from pinxit.errors import UsageError
from pinxit.serve.app import around, created, warmed
from pinxit.serve.catalog import Catalog
from pinxit.serve.protocol import limited

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pinxit.serve.settings import Settings

log = logging.getLogger("pinxit.serve")
BROKEN = 70  # exit code: the engine stopped by itself


class Server(uvicorn.Server):
    """Told to end, it takes no more work, lets what is painted for somebody finish, and then goes."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first drains, a second one ends at once."""
        context = getattr(self.app.state, "context", None)
        if context is not None:
            context.drain()
        super().handle_exit(sig, frame)

    @property
    def app(self) -> FastAPI:
        """What it serves."""
        found: FastAPI = self.config.app  # type: ignore[assignment]
        return found


def prepared(settings: Settings, opened: Callable[[], Catalog] | None = None) -> Server:
    """A server that has not started."""
    ended: list[Server] = []

    def died() -> None:
        ended[0].should_exit, ended[0].force_exit = True, True

    front = settings if settings.engine == "local" else _planning(settings)
    app = created(settings, opened or (lambda: Catalog.opened(front)), died)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        forwarded_allow_ips=_proxies(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_seconds) or 1,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
        http=limited(settings.connections),
    )
    ended.append(Server(config))
    return ended[0]


def _proxies(settings: Settings) -> list[str]:
    """Whom what they forward is believed. Raises UsageError for what is no address and no network."""
    for one in settings.proxies:
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise UsageError(f"proxies: '{one}' is no address or network, such as 172.16.0.0/12.") from error
    return list(settings.proxies)


def _planning(settings: Settings) -> Settings:
    """Of a front whose engines are elsewhere, which computes nothing itself."""
    stages = {name: replace(how, device="", compile=False) for name, how in settings.stages.items()}
    return replace(settings, device="cpu", stages=stages)


def run(settings: Settings) -> int:
    """Serve until a signal; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    server = prepared(settings)
    server.run()
    return BROKEN if getattr(server.app.state, "failed", None) is not None else 0


def check(settings: Settings) -> dict[str, Any]:
    """Load everything, paint one picture by each painter, and tell with what: versions, devices, memory.

    Raises PinxitError where `run` would: for keys that cannot be read, too, for a hook that is not found, hosts and
    proxies that are none, certificates that do not fit, and a place where no jobs can be kept.
    """
    import platform

    import torch

    from pinxit import __version__
    from pinxit.files import check_writable
    from pinxit.serve.hub import Hub
    from pinxit.serve.keys import Keys

    async def painted(catalog: Catalog) -> dict[str, float]:
        hub = Hub(catalog.graph)
        try:
            return await warmed(catalog, hub)
        finally:
            await hub.close()

    if settings.api_keys:
        Keys.read(Path(settings.api_keys))
    _proxies(settings)
    policy, fetcher, _ = around(settings)
    policy.close()
    fetcher.close()
    check_writable(Path(settings.data))
    catalog = Catalog.opened(settings)
    found: dict[str, Any] = {"pinxit": __version__, "python": platform.python_version(), "torch": torch.__version__}
    found |= {"threads": torch.get_num_threads(), "pid": os.getpid()}
    found["painters"] = {
        name: {"checkpoint": model.painter.provenance.get("checkpoint_hash", ""), "sizes": model.natives}
        for name, model in catalog.models.items()
    }
    found["device"] = str(next(iter(catalog.models.values())).painter.ranker.device)
    found["first_picture_seconds"] = asyncio.run(painted(catalog))
    found["memory_mb"] = _memory()
    return found


def _memory() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

"""The server process: uvicorn, with a shutdown that lets requests in progress finish."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from pinxit.errors import UsageError
from pinxit.serve.app import create_app, open_checks, warm_up
from pinxit.serve.catalog import Catalog
from pinxit.serve.protocol import limited_protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pinxit.serve.settings import Settings

log = logging.getLogger("pinxit.serve")
HOST = re.compile(r"[^\s/@*]+")
ORIGIN = re.compile(rf"null|[a-z][a-z0-9+.-]*://{HOST.pattern}/?", re.IGNORECASE)
ENGINE_FAILED = 70  # exit code when the engine stopped by itself, or the server could not load


class Server(uvicorn.Server):
    """On a signal it accepts no more work, lets pictures that clients wait for finish, and exits."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one exits at once."""
        context = getattr(self.app.state, "context", None)
        if context is not None:
            context.drain()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the application end in order also where nobody waits for its connections."""
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn would have it cancelled, which it reports by a traceback
            await self.lifespan.shutdown()

    @property
    def app(self) -> FastAPI:
        """The application that it serves."""
        report: FastAPI = self.config.app  # type: ignore[assignment]
        return report


def make_server(settings: Settings, open_catalog: Callable[[], Catalog] | None = None) -> Server:
    """A server that has not started."""
    _check_addresses(settings)
    servers: list[Server] = []

    def on_engine_death() -> None:
        servers[0].should_exit, servers[0].force_exit = True, True

    own_settings = settings if settings.engine == "local" else _front_end_settings(settings)
    app = create_app(settings, open_catalog or (lambda: Catalog.opened(own_settings)), on_engine_death)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        forwarded_allow_ips=list(settings.proxies),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_seconds) or 1,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
        http=limited_protocol(settings.connections),
    )
    servers.append(Server(config))
    return servers[0]


def _check_addresses(settings: Settings) -> None:
    """Raise UsageError for what is no address, or no name by which a client could ever call.

    asyncio takes "", as of a variable that is not set, for all addresses of the machine.
    """
    if not settings.host:
        raise UsageError("host is empty: leave it out for 127.0.0.1, or write 0.0.0.0 for all addresses.")
    for one in settings.proxies:
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise UsageError(f"proxies: '{one}' is no address or network, such as 172.16.0.0/12.") from error
    for one in settings.hosts:
        if HOST.fullmatch(one) is None:
            raise UsageError(f"hosts: '{one}' is no name of a host, such as pictures.example.org.")
    for one in settings.origins:
        if ORIGIN.fullmatch(one) is None:
            raise UsageError(f"origins: '{one}' is no origin of pages, such as https://pages.example.org.")


def _front_end_settings(settings: Settings) -> Settings:
    """With Ray, the front end computes nothing: it loads the models on the CPU, only to plan requests."""
    stages = {name: replace(how, device="", compile=False) for name, how in settings.stages.items()}
    return replace(settings, device="cpu", stages=stages)


def run(settings: Settings) -> int:
    """Serve until a signal; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    server = make_server(settings)
    server.run()
    return ENGINE_FAILED if getattr(server.app.state, "failed", None) is not None else 0


def check(settings: Settings) -> dict[str, Any]:
    """Load everything, paint once with each painter, and report versions, devices and memory.

    Raises PinxitError where `run` would fail: for keys that cannot be read, a missing content hook, addresses, hosts
    and origins that are none, certificates that do not match, and a data folder that cannot be written.
    """
    import platform

    import torch

    from pinxit import __version__
    from pinxit.files import check_writable
    from pinxit.serve.dispatcher import Dispatcher
    from pinxit.serve.keys import Keys
    from pinxit.training.precision import pick_device

    async def first_pictures(catalog: Catalog) -> dict[str, float]:
        dispatcher = Dispatcher(catalog.graph)
        try:
            return await warm_up(catalog, dispatcher)
        finally:
            await dispatcher.close()

    if settings.api_keys:
        Keys.read(Path(settings.api_keys))
    _check_addresses(settings)
    open_checks(settings)
    check_writable(Path(settings.data))
    catalog = Catalog.opened(settings)
    report: dict[str, Any] = {"pinxit": __version__, "python": platform.python_version(), "torch": torch.__version__}
    report |= {"threads": torch.get_num_threads(), "pid": os.getpid()}
    report["painters"] = {
        name: {"checkpoint": model.painter.provenance.get("checkpoint_hash", ""), "sizes": model.native_sizes}
        for name, model in catalog.models.items()
    }
    report["device"] = str(pick_device(settings.device))
    report["first_picture_seconds"] = asyncio.run(first_pictures(catalog))
    report["memory_mb"] = _memory()
    return report


def _memory() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

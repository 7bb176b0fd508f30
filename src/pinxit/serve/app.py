"""The application: routes, what every request passes, and how it begins and ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute

from pinxit import __version__
from pinxit.errors import PinxitError
from pinxit.serve import api, edits, embeddings, images, page, sight
from pinxit.serve.admission import Admission
from pinxit.serve.catalog import CLIP, Catalog, Order
from pinxit.serve.content import Policy
from pinxit.serve.context import Context, Here
from pinxit.serve.encoding import TYPES
from pinxit.serve.errors import RefusedError, install
from pinxit.serve.fetch import Fetcher
from pinxit.serve.files import Urls
from pinxit.serve.gate import Gate
from pinxit.serve.hub import Hub
from pinxit.serve.jobs import Jobs
from pinxit.serve.keys import Keys
from pinxit.serve.metrics import Metrics
from pinxit.serve.settings import Settings
from pinxit.serve.signing import Signer
from pinxit.serve.store import Store
from pinxit.serve.uploads import Uploads

log = logging.getLogger("pinxit.serve")
TIDY = 60.0  # seconds
Died = Callable[[], None]


def created(settings: Settings, opened: Callable[[], Catalog], died: Died = lambda: None) -> FastAPI:
    """The application. `opened` gives what is served, once it starts; `died` is called when the engine has stopped."""

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(_load(app, settings, opened, died))
        try:
            yield
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await loading
            await _close(app)

    app = FastAPI(
        title="pinxit",
        version=__version__,
        summary="Type a sentence, get a picture.",
        description="The OpenAI images contract over the painters of pinxit, and jobs of its own.",
        lifespan=living,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_name,
        root_path_in_servers=False,
    )
    keys = Keys.read(Path(settings.api_keys)) if settings.api_keys else None
    most = int(settings.body_mb * 2**20)
    app.add_middleware(Gate, keys=keys, hosts=settings.hosts, origins=settings.origins, most_bytes=most)
    install(app)
    for router in (images.router, edits.router, embeddings.router, api.router, sight.router, api.pictures, page.router):
        app.include_router(router)
    _add_health(app)
    return app


async def _load(app: FastAPI, settings: Settings, opened: Callable[[], Catalog], died: Died) -> None:
    try:
        policy, fetcher, signer = await asyncio.to_thread(around, settings)
        catalog = await asyncio.to_thread(opened)
        hub = Hub(catalog.graph, died, await _elsewhere(settings))
        admission = Admission(settings, hub)
        urls = Urls(Path(settings.data) / "urls", settings.url_minutes * 60)
        hub.on_death = lambda: setattr(app.state, "failed", hub.runner.error)
        context = Context(
            settings, catalog, hub, admission, Metrics(hub, admission), urls, Uploads(), policy, fetcher, signer
        )
        store = await asyncio.to_thread(Store, Path(settings.data), context.metrics.commit.observe)
        context.jobs = Jobs(context, store)
        await warmed(catalog, hub)
        await context.jobs.resume()
        app.state.context = context
    except Exception as error:
        log.critical("the server cannot start: %s", error, exc_info=not isinstance(error, PinxitError))
        app.state.failed = error
        died()
    else:
        settle()
        await _tidy(urls)


async def _tidy(urls: Urls) -> None:
    """Once a minute, whatever becomes of the disk."""
    while True:
        try:
            await asyncio.to_thread(urls.sweep)
        except OSError as error:
            log.error("pictures that are too old cannot be removed: %s", error.strerror)
        gc.collect()
        await asyncio.sleep(TIDY)


def settle() -> None:
    """Take what was loaded out of the garbage collector's sight, if this process does nothing but serve.

    By itself it looks at old objects only when they have grown by a quarter, which with all of torch loaded is 60,000
    objects of requests in cycles, and megabytes that they hold. What is left it looks through in milliseconds.
    """
    if threading.current_thread() is threading.main_thread():
        gc.collect()
        gc.freeze()


async def _elsewhere(settings: Settings) -> Any:
    """What makes the engine's stand-in, where engines are replicas; None: it is in this process."""
    if settings.engine == "local":
        return None
    from pinxit.serve.replicas import Placed, Replicas

    placed = await asyncio.to_thread(Placed, settings)
    return partial(Replicas, placed=placed, most_tries=settings.most_tries)


def around(settings: Settings) -> tuple[Policy, Fetcher, Signer | None]:
    """What stands between clients and painters. Raises UsageError and PinxitError for settings that do not hold."""
    signer = Signer.of(settings)
    fetcher = Fetcher(settings.fetch_from, int(settings.body_mb * 2**20))
    return Policy.opened(settings.content_hook, settings.content_seconds), fetcher, signer


async def warmed(catalog: Catalog, hub: Hub) -> dict[str, float]:
    """Seconds of each painter's first picture: what one costs is known then, and nobody waits for a first call."""
    seconds = {}
    for model in catalog.models.values():
        began = time.perf_counter()
        order = catalog.order(model, model.first_request(), model.usual, client="warming up")
        event = await hub.outcome(hub.submit(order, model))
        if event.kind != "done":
            raise event.data if isinstance(event.data, PinxitError) else RuntimeError(f"{model.name}: {event.data}")
        seconds[model.name] = round(time.perf_counter() - began, 3)
    if catalog.clip is not None:
        grey = np.full((32, 32, 3), 127, np.uint8)
        starts = [([f"{CLIP}/texts"], "a red cube"), ([f"{CLIP}/pictures"], grey)]
        await hub.outcome(hub.submit(Order(starts, client="warming up")))
    return seconds


async def _close(app: FastAPI) -> None:
    context: Context | None = getattr(app.state, "context", None)
    if context is not None:
        app.state.context = None
        await context.jobs.close()
        await context.hub.close()
        await context.uploads.close()
        context.encoders.shutdown()
        context.policy.close()
        context.fetcher.close()


def _add_health(app: FastAPI) -> None:
    @app.get("/live", tags=["health"])
    async def live(request: Request) -> JSONResponse:
        """Whether the process is of use, loading included."""
        context: Context | None = getattr(request.app.state, "context", None)
        well = getattr(request.app.state, "failed", None) is None
        well = well and (context is None or context.hub.runner.error is None)
        return JSONResponse({"live": well}, 200 if well else 503)

    @app.get("/ready", tags=["health"])
    async def ready(request: Request) -> JSONResponse:
        """Whether work is taken: not while loading, draining, or when the engine does not move."""
        context: Context | None = getattr(request.app.state, "context", None)
        well = context is not None and not context.draining and context.hub.runner.well
        return JSONResponse({"ready": well}, 200 if well else 503)

    @app.get("/metrics", tags=["health"])
    async def metrics(here: Here) -> Response:
        """For Prometheus."""
        return Response(here.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/files/{name}", tags=["files"])
    async def file(name: str, here: Here) -> Response:
        """A picture by the URL that an answer gave, as long as it lives."""
        path = await asyncio.to_thread(here.urls.find, name)
        if path is None:
            raise RefusedError(404, "there is no such picture here, or not any more.")
        return FileResponse(path, media_type=TYPES[path.suffix[1:]], headers={"cache-control": "private, max-age=600"})


def _name(route: APIRoute) -> str:
    return route.name


def openapi(settings: Settings | None = None) -> dict[str, Any]:
    """The OpenAPI document, for which nothing needs to be loaded."""

    def nothing() -> Catalog:
        raise AssertionError("only described")

    return created(settings or Settings(), nothing).openapi()

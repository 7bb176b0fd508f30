"""The FastAPI application: routes, middleware, and what happens at startup and shutdown."""

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
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from pinxit import __version__
from pinxit.errors import PinxitError
from pinxit.serve import api, clip_api, edits, embeddings, images, page
from pinxit.serve.admission import Admission
from pinxit.serve.catalog import CLIP, WARM_UP, Catalog, ServerJob
from pinxit.serve.content import ContentPolicy
from pinxit.serve.context import Context, ContextDep
from pinxit.serve.dispatcher import Dispatcher
from pinxit.serve.embedded import embed_others
from pinxit.serve.encoding import MEDIA_TYPES
from pinxit.serve.errors import RefusedError, install_handlers
from pinxit.serve.fetch import Fetcher
from pinxit.serve.job_recovery import recover
from pinxit.serve.jobs import Jobs
from pinxit.serve.keys import Keys
from pinxit.serve.metrics import Metrics
from pinxit.serve.middleware import FOR_ALL_PAGES, AccessMiddleware
from pinxit.serve.settings import Settings
from pinxit.serve.signing import Signer
from pinxit.serve.store import Store
from pinxit.serve.time_limit import TimeLimit, TimeLimitMiddleware
from pinxit.serve.uploads import Uploads
from pinxit.serve.url_files import UrlFiles

log = logging.getLogger("pinxit.serve")
CLEANUP_SECONDS = 60.0  # between two clean-ups
CACHE_SECONDS = 600.0  # for which a browser keeps a picture that expires, at most


def create_app(
    settings: Settings, open_catalog: Callable[[], Catalog], on_engine_death: Callable[[], None] = lambda: None
) -> FastAPI:
    """The application. `open_catalog` loads what is served; `on_engine_death` is called when the engine has stopped."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(_load(app, settings, open_catalog, on_engine_death))
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
        description="The OpenAI images API over the painters of pinxit, and jobs of its own.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_route_name,
        root_path_in_servers=False,
    )
    keys = Keys.read(Path(settings.api_keys)) if settings.api_keys else None
    max_bytes = int(settings.body_mb * 2**20)
    app.state.time_limit = TimeLimit()
    app.add_middleware(TimeLimitMiddleware, limit=app.state.time_limit)
    app.add_middleware(AccessMiddleware, keys=keys, hosts=settings.hosts, origins=settings.origins, max_bytes=max_bytes)
    install_handlers(app)
    for router in (
        images.router,
        edits.router,
        embeddings.router,
        api.router,
        clip_api.router,
        api.pictures,
        page.router,
    ):
        app.include_router(router)
    _add_health(app)
    return app


async def _load(
    app: FastAPI, settings: Settings, open_catalog: Callable[[], Catalog], on_engine_death: Callable[[], None]
) -> None:
    try:
        policy, fetcher, signer = await asyncio.to_thread(open_checks, settings)
        catalog = await asyncio.to_thread(open_catalog)
        url_files = UrlFiles(Path(settings.data) / "urls", settings.url_minutes * 60)
        store = await asyncio.to_thread(Store, Path(settings.data))
        dispatcher = Dispatcher(catalog.graph, on_engine_death, await _runner_factory(settings))
        admission = Admission(settings, dispatcher)
        dispatcher.on_death = lambda: setattr(app.state, "failed", dispatcher.runner.error)
        context = Context(
            settings,
            catalog,
            dispatcher,
            admission,
            Metrics(dispatcher, admission),
            url_files,
            Uploads(),
            policy,
            fetcher,
            signer,
            app.state.time_limit,
        )
        store.on_commit = context.metrics.commit.observe
        context.jobs = Jobs(context, store)
        app.state.opened = context  # which is closed at the end, whether or not the rest of this succeeds
        await warm_up(catalog, dispatcher)
        await recover(context.jobs)
        app.state.context = context
    except Exception as error:
        log.critical("the server cannot start: %s", error, exc_info=not isinstance(error, PinxitError))
        app.state.failed = error
        on_engine_death()
    else:
        freeze_loaded_objects()
        await asyncio.gather(_clean_up(url_files, dispatcher), embed_others(context, store))


async def _clean_up(url_files: UrlFiles, dispatcher: Dispatcher) -> None:
    """Every minute remove expired pictures and results, and collect garbage; an error of the disk does not end it."""
    while True:
        try:
            await asyncio.to_thread(url_files.sweep)
        except OSError as error:
            log.error("expired pictures cannot be removed: %s", error.strerror)
        dispatcher.forget_stale()
        gc.collect()
        await asyncio.sleep(CLEANUP_SECONDS)


def freeze_loaded_objects() -> None:
    """Exclude what was loaded from garbage collection, if this process does nothing but serve.

    Python collects old objects only when their number has grown by a quarter; with torch loaded, that is 60,000 objects
    in reference cycles of requests, and the megabytes that they hold. Without the loaded ones a collection takes
    milliseconds.
    """
    if threading.current_thread() is threading.main_thread():
        gc.collect()
        gc.freeze()


async def _runner_factory(settings: Settings) -> Any:
    """What makes the `Replicas`, where the settings ask for Ray; None: the engine runs in this process."""
    if settings.engine == "local":
        return None
    from pinxit.serve.replicas import Deployment, Replicas

    deployment = await asyncio.to_thread(Deployment, settings)
    return partial(Replicas, deployment=deployment, most_tries=settings.most_tries)


def open_checks(settings: Settings) -> tuple[ContentPolicy, Fetcher, Signer | None]:
    """The content policy, the fetcher and the signer. Raises UsageError and PinxitError for settings that are wrong."""
    signer = Signer.of(settings)
    fetcher = Fetcher(settings.fetch_from, int(settings.body_mb * 2**20))
    return ContentPolicy.opened(settings.content_hook, settings.content_seconds), fetcher, signer


async def warm_up(catalog: Catalog, dispatcher: Dispatcher) -> dict[str, float]:
    """Paint once with each painter, so that costs are known and no client waits for a first call; seconds of each."""
    seconds = {}
    for model in catalog.models.values():
        began = time.perf_counter()
        order = catalog.job(model, model.warm_up_request(), model.default_size, client=WARM_UP)
        event = await dispatcher.outcome(dispatcher.submit(order, model))
        if event.kind != "done":
            raise event.data if isinstance(event.data, PinxitError) else RuntimeError(f"{model.name}: {event.data}")
        seconds[model.name] = round(time.perf_counter() - began, 3)
    if catalog.clip is not None:
        grey = np.full((32, 32, 3), 127, np.uint8)
        starts = [([f"{CLIP}/texts"], "a red cube"), ([f"{CLIP}/pictures"], grey)]
        await dispatcher.outcome(dispatcher.submit(ServerJob(starts, client=WARM_UP)))
    return seconds


async def _close(app: FastAPI) -> None:
    context: Context | None = getattr(app.state, "opened", None)
    if context is not None:
        app.state.context = app.state.opened = None
        await context.jobs.stop()
        await context.dispatcher.close()
        await context.jobs.close()
        await context.uploads.close()
        context.encoders.shutdown()


def _add_health(app: FastAPI) -> None:
    @app.get("/live", tags=["health"])
    async def live(request: Request) -> JSONResponse:
        """Liveness: 503 once the engine has stopped or the server could not load."""
        context: Context | None = getattr(request.app.state, "context", None)
        ok = getattr(request.app.state, "failed", None) is None
        ok = ok and (context is None or context.dispatcher.runner.error is None)
        return JSONResponse({"live": ok}, 200 if ok else 503)

    @app.get("/ready", tags=["health"])
    async def ready(request: Request) -> JSONResponse:
        """Readiness: 503 while loading, while draining, and when the engine does not make progress."""
        context: Context | None = getattr(request.app.state, "context", None)
        ok = context is not None and not context.draining and context.dispatcher.runner.well
        return JSONResponse({"ready": ok}, 200 if ok else 503)

    @app.get("/metrics", tags=["health"])
    async def metrics(context: ContextDep) -> Response:
        """Metrics for Prometheus."""
        return Response(context.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/files/{name}", tags=["files"])
    async def file(name: str, context: ContextDep) -> Response:
        """A picture by the URL that a response gave, until it expires."""
        found = await asyncio.to_thread(context.url_files.read, name)
        if found is None:
            raise RefusedError(404, "there is no such picture here, or it has expired.")
        data, left = found
        headers = {"cache-control": f"private, max-age={int(min(left, CACHE_SECONDS))}"} | FOR_ALL_PAGES
        return Response(data, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=headers)


def _route_name(route: APIRoute) -> str:
    return route.name


def openapi(settings: Settings | None = None) -> dict[str, Any]:
    """The OpenAPI document; nothing is loaded for it."""

    def no_catalog() -> Catalog:
        raise AssertionError("the document is made without a catalog")

    return create_app(settings or Settings(), no_catalog).openapi()

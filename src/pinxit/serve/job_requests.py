"""From what a client asks of /api to requests that are stored, and from those to plans."""

from __future__ import annotations

import asyncio
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.files import write_bytes
from pinxit.serve import records
from pinxit.serve.errors import PassingError, RefusedError
from pinxit.serve.job_schemas import JobRequest
from pinxit.serve.paint_plan import SEEDS, PaintPlan, default_candidates, make_plan
from pinxit.serve.schemas import BlendRequest, EditRequest, GenerationRequest, VariationRequest
from pinxit.serve.store import sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pinxit.serve.catalog import Model
    from pinxit.serve.live_job import LiveJob
    from pinxit.serve.services import Services
    from pinxit.serve.store import Store

NAME = re.compile(r"[0-9a-f]{32}")
KINDS: dict[str, Any] = {
    "paint": GenerationRequest,
    "edit": EditRequest,
    "vary": VariationRequest,
    "blend": BlendRequest,
}
RECHECK_SECONDS = 1.0  # before a hook that failed is asked again; doubled each time
BLEND_PICTURES, MAX_BLEND_PICTURES = 8, 16  # of a blend, both ends included


async def stored_requests(asked: JobRequest, owner: str, services: Services, store: Store) -> list[dict[str, Any]]:
    """A request for each recipe, as it is stored: seed drawn, defaults filled in, uploads on disk.

    Raises RefusedError for a picture that does not exist or cannot be read.
    """
    seed = secrets.randbelow(SEEDS) if asked.seed is None else asked.seed
    usual = BLEND_PICTURES if asked.kind == "blend" else default_candidates(services.settings)
    candidates = asked.candidates or usual
    keep = min(asked.keep or candidates, candidates)
    _check_fits(asked, candidates, keep)
    models = [services.catalog.model(name) for name in asked.recipes or [""]]
    _check_settings(asked, models)
    sources = {name: getattr(asked, name) for name in records.INPUTS}
    pictures = {
        name: one and await _checked_picture(one, name, owner, services, store) for name, one in sources.items()
    }
    files = await _stored_pictures(pictures, store)
    group = secrets.token_hex(8) if len(models) > 1 else None
    shared = {"prompt": asked.prompt.strip(), "kind": asked.kind, "candidates": candidates, "keep": keep, "seed": seed}
    shared |= files | {"group": group, "priority": asked.priority}
    found = []
    for model in models:
        own = {key: value for key, value in asked.settings.items() if len(models) == 1 or key in model.painter.defaults}
        found.append(shared | {"recipe": model.name, "settings": own, "size": asked.size or "auto"})
    return found


def _check_settings(asked: JobRequest, models: Sequence[Model]) -> None:
    """Raise RefusedError for a name that is no setting, of a comparison for one that none of its painters has."""
    for name in asked.settings:
        unknown = len(models) > 1 and not any(name in model.painter.defaults for model in models)
        if unknown or name in EditRequest.model_fields:
            raise RefusedError(400, f"settings: {name} is not a setting of painters.", "settings", "invalid_value")


def _check_fits(asked: JobRequest, candidates: int, keep: int) -> None:
    """Raise RefusedError for fields that a kind of job does not take, or lacks."""
    if (asked.image is None) != (asked.kind == "paint"):
        raise RefusedError(400, f"image: {asked.kind} {'takes none' if asked.image else 'needs one'}.", "image")
    if asked.mask is not None and asked.kind != "edit":
        raise RefusedError(400, "mask: only an edit takes one.", "mask", "invalid_value")
    if (asked.other is None) != (asked.kind != "blend"):
        raise RefusedError(400, f"other: {asked.kind} {'takes none' if asked.other else 'needs one'}.", "other")
    if asked.kind != "blend":
        return
    if not 2 <= candidates <= MAX_BLEND_PICTURES or keep != candidates:
        message = f"candidates: a blend is 2 to {MAX_BLEND_PICTURES} pictures, which are all kept."
        raise RefusedError(400, message, "candidates", "invalid_value")
    if asked.settings:
        raise RefusedError(400, "settings: a blend takes none.", "settings", "invalid_value")


async def plan_of_request(services: Services, store: Store, request: dict[str, Any]) -> PaintPlan:
    """The plan of a stored request. Raises RefusedError and PinxitError for what cannot be painted."""
    kind = KINDS[request["kind"]]
    about = {name: request[name] for name in ("prompt", "candidates", "seed", "size")} | {"model": request["recipe"]}
    if kind in (GenerationRequest, EditRequest) and not request["prompt"]:
        raise RefusedError(400, "the prompt is empty: say what to paint.", "prompt", "invalid_value")
    sent = {
        name: await services.uploads.decode(await _read(store.file(request[name]), name), name)
        for name in records.INPUTS
        if request.get(name)
    }
    picture, other = (sent[name].picture if name in sent else None for name in ("image", "other"))
    await services.policy.check_prompt(request["prompt"])
    for name in sent.keys() & {"image", "other"}:
        await services.policy.check_upload(sent[name].picture, name)
    mask = sent["mask"].mask() if "mask" in sent else None
    body = kind.model_construct(**{name: about.get(name) for name in kind.model_fields})  # `JobRequest` validated them
    return make_plan(
        body, services.catalog, services.settings, picture, mask, request["keep"], other, request["settings"]
    )


async def plan_when_checked(services: Services, store: Store, live: LiveJob, turn: asyncio.Lock) -> PaintPlan | None:
    """The plan of a stored job whose content could not be checked, as soon as it can be; None if it is cancelled first.

    Of the jobs that share `turn` one is checked at a time: new requests need the hook's threads, too. Raises what
    `plan_of_request` does, but for PassingError.
    """
    wait = RECHECK_SECONDS
    while not live.cancelled:
        await asyncio.sleep(wait)
        wait = min(2 * wait, 60.0)
        async with turn:
            with suppress(PassingError):
                return await plan_of_request(services, store, live.record.request)
    return None


async def _read(file: Path, param: str) -> bytes:
    try:
        return await asyncio.to_thread(file.read_bytes)
    except OSError as error:
        raise RefusedError(404, f"{param}: the picture is not here any more.", param, "not_found") from error


async def picture_content(source: str, param: str, owner: str, services: Services, store: Store) -> bytes:
    """The file of a stored picture of the owner, or of an upload. Raises RefusedError."""
    if NAME.fullmatch(source):
        await _check_owner(source, param, owner, store)
        return await _read(store.file(source), param)
    return await services.fetcher.data(source, param)


async def _check_owner(name: str, param: str, owner: str, store: Store) -> None:
    if not await store.do(records.owns_picture(owner, name)):
        raise RefusedError(404, f"{param}: there is no such picture.", param, "not_found")


async def _checked_picture(source: str, param: str, owner: str, services: Services, store: Store) -> str | bytes:
    """The name of a stored picture of the owner, or the content of an upload. Raises RefusedError."""
    if NAME.fullmatch(source):
        await _check_owner(source, param, owner, store)
        return source
    data = await services.fetcher.data(source, param)
    await services.uploads.decode(data, param)
    return data


async def _stored_pictures(given: Mapping[str, str | bytes | None], store: Store) -> dict[str, str | None]:
    """The names of pictures; those that are sent are stored under new ones, all or none. Raises PinxitError."""
    names = {field: secrets.token_hex(16) if isinstance(one, bytes) else one for field, one in given.items()}
    new = {str(names[field]): one for field, one in given.items() if isinstance(one, bytes)}

    def write() -> None:
        try:
            for name, data in new.items():
                write_bytes(store.file(name), data)
            sync_folder(store.folder)  # before the job that needs them is acknowledged
        except BaseException:  # the disk may be full: keep nothing
            store.remove(new)
            raise

    if new:
        await asyncio.to_thread(write)  # blocks on the disk
    return names

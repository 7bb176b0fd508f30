"""From what a client asks of /api to requests that are stored, and from those to plans."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.files import write_bytes
from pinxit.serve import records
from pinxit.serve.errors import RefusedError
from pinxit.serve.job_schemas import JobRequest
from pinxit.serve.paint_plan import SEEDS, PaintPlan, make_plan
from pinxit.serve.schemas import BlendRequest, EditRequest, GenerationRequest, VariationRequest

if TYPE_CHECKING:
    from pinxit.serve.services import Services
    from pinxit.serve.store import Store

NAME = re.compile(r"[0-9a-f]{32}")
KINDS: dict[str, Any] = {
    "paint": GenerationRequest,
    "edit": EditRequest,
    "vary": VariationRequest,
    "blend": BlendRequest,
}
BLEND_PICTURES, MAX_BLEND_PICTURES = 8, 16  # of a blend, both ends included


async def stored_requests(asked: JobRequest, owner: str, services: Services, store: Store) -> list[dict[str, Any]]:
    """A request for each recipe, as it is stored: seed drawn, defaults filled in, uploads on disk.

    Raises RefusedError for a picture that does not exist or cannot be read.
    """
    seed = secrets.randbelow(SEEDS) if asked.seed is None else asked.seed
    candidates = asked.candidates or (BLEND_PICTURES if asked.kind == "blend" else services.settings.candidates)
    keep = min(asked.keep or candidates, candidates)
    _check_fits(asked, candidates, keep)
    names = [services.catalog.model(name).name for name in asked.recipes or [""]]
    if reserved := next((key for key in asked.settings if key in EditRequest.model_fields), None):
        raise RefusedError(400, f"settings: {reserved} is not a setting of painters.", "settings", "invalid_value")
    sources = {name: getattr(asked, name) for name in records.INPUTS}
    pictures = {
        name: one and await _checked_picture(one, name, owner, services, store) for name, one in sources.items()
    }
    files = {name: one and await _stored_picture(one, store) for name, one in pictures.items()}
    group = secrets.token_hex(8) if len(names) > 1 else None
    shared = {"prompt": asked.prompt.strip(), "kind": asked.kind, "candidates": candidates, "keep": keep, "seed": seed}
    shared |= files | {"group": group, "priority": asked.priority}
    found = []
    for name in names:
        model = services.catalog.model(name)
        own = {key: value for key, value in asked.settings.items() if len(names) == 1 or key in model.painter.defaults}
        size = asked.size or "auto"
        found.append(shared | {"recipe": name, "settings": own, "size": size})
    return found


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
    about = {"model": request["recipe"], "n": None, "candidates": request["candidates"], "seed": request["seed"]}
    about |= {"size": request["size"]} | request["settings"]
    if kind in (GenerationRequest, EditRequest):
        about["prompt"] = request["prompt"]
    if kind is GenerationRequest and not request["prompt"]:
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
    body = kind.model_construct(**_body_fields(kind, about))
    return make_plan(body, services.catalog, services.settings, picture, mask, keep=request["keep"], other=other)


def _body_fields(kind: Any, about: dict[str, Any]) -> dict[str, Any]:
    """The body's fields, which `JobRequest` has validated; all others are settings of the painter."""
    return {name: about.get(name) for name in kind.model_fields} | {
        name: value for name, value in about.items() if name not in kind.model_fields
    }


async def _read(file: Path, param: str) -> bytes:
    try:
        return await asyncio.to_thread(file.read_bytes)
    except OSError as error:
        raise RefusedError(404, f"{param}: the picture is not here any more.", param, "not_found") from error


async def _checked_picture(sources: str, param: str, owner: str, services: Services, store: Store) -> str | bytes:
    """The name of a stored picture of the owner, or the content of an upload. Raises RefusedError."""
    if NAME.fullmatch(sources):
        if not await store.do(records.owns_picture(owner, sources)):
            raise RefusedError(404, f"{param}: there is no such picture.", param, "not_found")
        return sources
    data = await services.fetcher.data(sources, param)
    await services.uploads.decode(data, param)
    return data


async def _stored_picture(sources: str | bytes, store: Store) -> str:
    """The name of the picture, which is stored if it is new."""
    if isinstance(sources, str):
        return sources
    data, name = sources, secrets.token_hex(16)
    await asyncio.to_thread(write_bytes, store.file(name), data)  # blocks on the disk
    return name

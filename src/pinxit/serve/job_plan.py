"""From what a client sends to requests that are written down, seed and all, and from those to plans."""

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
from pinxit.serve.plan import SEEDS, Plan, planned
from pinxit.serve.schemas import BlendRequest, EditRequest, GenerationRequest, VariationRequest

if TYPE_CHECKING:
    from pinxit.serve.parts import Parts
    from pinxit.serve.store import Store

NAME = re.compile(r"[0-9a-f]{32}")
KINDS: dict[str, Any] = {
    "paint": GenerationRequest,
    "edit": EditRequest,
    "vary": VariationRequest,
    "blend": BlendRequest,
}
WAY, LONGEST_WAY = 8, 16  # pictures of a blend, both ends included


async def requests_of(asked: JobRequest, owner: str, here: Parts, store: Store) -> list[dict[str, Any]]:
    """What is to be written down for each recipe: all drawn, all defaults filled in, pictures on the disk.

    Raises RefusedError for a picture that is not there or cannot be read.
    """
    seed = secrets.randbelow(SEEDS) if asked.seed is None else asked.seed
    candidates = asked.candidates or (WAY if asked.kind == "blend" else here.settings.candidates)
    keep = min(asked.keep or candidates, candidates)
    _check_fits(asked, candidates, keep)
    names = [here.catalog.model(name).name for name in asked.recipes or [""]]
    if strange := next((key for key in asked.settings if key in EditRequest.model_fields), None):
        raise RefusedError(400, f"settings: {strange} is not a setting of painters.", "settings", "invalid_value")
    given = {name: getattr(asked, name) for name in records.SENT}
    looked = {name: one and await _looked_at(one, name, owner, here, store) for name, one in given.items()}
    files = {name: one and await _kept(one, store) for name, one in looked.items()}
    group = secrets.token_hex(8) if len(names) > 1 else None
    shared = {"prompt": asked.prompt.strip(), "kind": asked.kind, "candidates": candidates, "keep": keep, "seed": seed}
    shared |= files | {"group": group, "priority": asked.priority}
    found = []
    for name in names:
        model = here.catalog.model(name)
        own = {key: value for key, value in asked.settings.items() if len(names) == 1 or key in model.painter.defaults}
        size = asked.size or "auto"
        found.append(shared | {"recipe": name, "settings": own, "size": size})
    return found


def _check_fits(asked: JobRequest, candidates: int, keep: int) -> None:
    """Raise RefusedError for what a kind of job does not take, or lacks."""
    if (asked.image is None) != (asked.kind == "paint"):
        raise RefusedError(400, f"image: {asked.kind} {'takes none' if asked.image else 'needs one'}.", "image")
    if asked.mask is not None and asked.kind != "edit":
        raise RefusedError(400, "mask: only an edit takes one.", "mask", "invalid_value")
    if (asked.other is None) != (asked.kind != "blend"):
        raise RefusedError(400, f"other: {asked.kind} {'takes none' if asked.other else 'needs one'}.", "other")
    if asked.kind != "blend":
        return
    if not 2 <= candidates <= LONGEST_WAY or keep != candidates:
        told = f"candidates: a blend is 2 to {LONGEST_WAY} pictures, which are all kept."
        raise RefusedError(400, told, "candidates", "invalid_value")
    if asked.settings:
        raise RefusedError(400, "settings: a blend takes none.", "settings", "invalid_value")


async def settled_plan(here: Parts, store: Store, request: dict[str, Any]) -> Plan:
    """The plan of a written request. Raises RefusedError and PinxitError for what cannot be painted."""
    kind = KINDS[request["kind"]]
    about = {"model": request["recipe"], "n": None, "candidates": request["candidates"], "seed": request["seed"]}
    about |= {"size": request["size"]} | request["settings"]
    if kind in (GenerationRequest, EditRequest):
        about["prompt"] = request["prompt"]
    if kind is GenerationRequest and not request["prompt"]:
        raise RefusedError(400, "the prompt is empty: say what to paint.", "prompt", "invalid_value")
    sent = {
        name: await here.uploads.decode(await _read(store.file(request[name]), name), name)
        for name in records.SENT
        if request.get(name)
    }
    picture, other = (sent[name].picture if name in sent else None for name in ("image", "other"))
    await here.policy.check_prompt(request["prompt"])
    for name in sent.keys() & {"image", "other"}:
        await here.policy.check_upload(sent[name].picture, name)
    mask = sent["mask"].mask() if "mask" in sent else None
    body = kind.model_construct(**_fields(kind, about))
    return planned(body, here.catalog, here.settings, picture, mask, keep=request["keep"], other=other)


def _fields(kind: Any, about: dict[str, Any]) -> dict[str, Any]:
    """Checked by `JobRequest` before they were written down; all but those of the contract are settings."""
    return {name: about.get(name) for name in kind.model_fields} | {
        name: value for name, value in about.items() if name not in kind.model_fields
    }


async def _read(file: Path, param: str) -> bytes:
    try:
        return await asyncio.to_thread(file.read_bytes)
    except OSError as error:
        raise RefusedError(404, f"{param}: the picture is not here any more.", param, "not_found") from error


async def _looked_at(given: str, param: str, owner: str, here: Parts, store: Store) -> str | bytes:
    """The name of a picture of the owner's, or the file of one that is sent now. Raises RefusedError for neither."""
    if NAME.fullmatch(given):
        if not await store.do(records.picture_of(owner, given)):
            raise RefusedError(404, f"{param}: there is no such picture.", param, "not_found")
        return given
    data = await here.fetcher.data(given, param)
    await here.uploads.decode(data, param)
    return data


async def _kept(given: str | bytes, store: Store) -> str:
    """The name under which a picture is kept, from now on where it is new."""
    if isinstance(given, str):
        return given
    data, name = given, secrets.token_hex(16)
    await asyncio.to_thread(write_bytes, store.file(name), data)  # which waits for the disk
    return name

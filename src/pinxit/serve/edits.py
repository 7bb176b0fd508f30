"""POST /v1/images/edits and /variations: multipart forms as the clients send them, and JSON with data: URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from pinxit.serve.context import Context, ContextDep
from pinxit.serve.errors import RefusedError
from pinxit.serve.images import EDIT, EVENT_STREAM, accept, respond
from pinxit.serve.paint_plan import PaintPlan, make_plan
from pinxit.serve.requests import check_connected
from pinxit.serve.schemas import ERRORS, EditRequest, ImagesOut, VariationRequest

if TYPE_CHECKING:
    from pinxit.serve.dispatcher import JobHandle
    from pinxit.types import Mask, Picture

router = APIRouter(prefix="/v1/images", tags=["images"], responses=ERRORS)
T = TypeVar("T", bound=BaseModel)
FILES = ("image", "image[]", "mask")


def _openapi_body(kind: type[BaseModel], files: Mapping[str, Any], json: bool) -> dict[str, Any]:
    """The request body of a route that parses it itself, for the OpenAPI document."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    inner = schema.pop("$defs", {})
    form = {name: about for name, about in schema["properties"].items() if name not in ("images", "mask")}
    required = [*schema.get("required", ()), "image"]
    multipart = {"type": "object", "properties": form | dict(files), "required": required}
    content: dict[str, Any] = {"multipart/form-data": {"schema": multipart}}
    if json:
        for name, one in inner.items():
            schema["properties"] = _inline(schema["properties"], f"#/components/schemas/{name}", one)
        content["application/json"] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}


def _inline(value: Any, reference: str, schema: Any) -> Any:
    if isinstance(value, dict):
        return schema if value.get("$ref") == reference else {
            name: _inline(one, reference, schema) for name, one in value.items()
        }  # fmt: skip
    return [_inline(one, reference, schema) for one in value] if isinstance(value, list) else value


PICTURE = {"type": "string", "format": "binary", "description": "PNG, JPEG or WebP"}
MASK = {"type": "string", "format": "binary", "description": "PNG as large as the picture; transparent: paint here"}


@router.post(
    "/edits",
    response_model=ImagesOut,
    responses={200: {"content": EVENT_STREAM, "description": "Pictures, or with `stream` events"}},
    openapi_extra=_openapi_body(EditRequest, {"image": PICTURE, "mask": MASK}, json=True),
)
async def edits(request: Request, context: ContextDep) -> Response:
    """Repaint a part of a picture, or all of it, to match a prompt."""
    parsed = await _parse(request, EditRequest)
    if isinstance(parsed.body, EditRequest) and parsed.body.images is not None:
        _check_one(parsed.body.images)
        parsed.files["image"] = [await context.fetcher.data(one.image_url, "images") for one in parsed.body.images]
        if parsed.body.mask is not None:
            parsed.files["mask"] = [await context.fetcher.data(parsed.body.mask.image_url, "mask")]
    await context.policy.check_prompt(parsed.body.prompt)
    return await respond(request, parsed.body, *await _accepted(request, parsed, context), context, EDIT)


@router.post(
    "/variations",
    response_model=ImagesOut,
    openapi_extra=_openapi_body(VariationRequest, {"image": PICTURE}, json=False),
)
async def variations(request: Request, context: ContextDep) -> Response:
    """Variations of a picture."""
    parsed = await _parse(request, VariationRequest)
    if parsed.files.pop("mask", None):
        raise RefusedError(400, "mask: only an edit takes one.", "mask", "invalid_value")
    return await respond(request, parsed.body, *await _accepted(request, parsed, context), context, EDIT)


@dataclass(frozen=True)
class ParsedBody:
    """A validated body, and the files that came with it."""

    body: Any
    files: dict[str, list[bytes]]


async def _parse(request: Request, kind: type[T]) -> ParsedBody:
    """A form or JSON as a `kind`. Raises RefusedError and RequestValidationError."""
    of_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    files: dict[str, list[bytes]] = {"image": [], "mask": []}
    if of_type == "multipart/form-data":
        fields = await _form_fields(request, files, kind)
    elif of_type == "application/json" and kind is EditRequest:
        try:
            fields = await request.json()
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, "the body is not JSON.", code="invalid_json") from error
    else:
        raise RefusedError(
            400, "send a form (multipart/form-data), as the OpenAI clients do.", code="invalid_content_type"
        )
    try:
        return ParsedBody(kind.model_validate(fields), files)
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from error


async def _form_fields(request: Request, files: dict[str, list[bytes]], kind: type[BaseModel]) -> dict[str, Any]:
    try:
        form: FormData = await request.form(max_files=20, max_fields=100)
    except (RefusedError, RequestValidationError, ClientDisconnect, OSError):  # a full disk is not the form's fault
        raise
    except Exception as error:
        if isinstance(error.__cause__, RefusedError):
            raise error.__cause__ from error
        raise RefusedError(400, "the form cannot be read.", code="invalid_form") from error
    fields: dict[str, Any] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name not in FILES:
                    raise RefusedError(400, "only image and mask are files.", code="invalid_form")
                files[name.removesuffix("[]")].append(await value.read())
            elif name in FILES:
                raise RefusedError(400, f"{name}: send a file.", name, "invalid_form")
            else:
                fields[name] = value if name in kind.model_fields else _scalar(value)
    finally:
        await form.close()
    return fields


def _scalar(text: str) -> Any:
    """A painter's setting, which a form sends as text: as a number, or true or false, if it is one."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if len(text) < 20 else text
    except ValueError:
        try:
            return float(text) if len(text) < 20 else text
        except ValueError:
            return text


def _check_one(given: Sequence[Any]) -> None:
    if len(given) != 1:
        many = "send one picture; the painters here take no more." if given else "send the picture."
        raise RefusedError(400, f"image: {many}", "image", "invalid_image")


async def _accepted(request: Request, parsed: ParsedBody, context: Context) -> tuple[PaintPlan, JobHandle]:
    """The plan and its job, as `accept` gives them."""
    files = [one for some in parsed.files.values() for one in some]
    async with context.uploads.places.of(len(files)):
        await check_connected(request)  # whoever waited too long costs those behind nothing
        picture, mask = await _pictures(parsed.files, context)
        plan = make_plan(parsed.body, context.catalog, context.settings, picture, mask)
        return accept(request, parsed.body, plan, context, *files)


async def _pictures(files: Mapping[str, Sequence[bytes]], context: Context) -> tuple[Picture, Mask | None]:
    given = files["image"]
    _check_one(given)
    upload = await context.uploads.decode(given[0], "image")
    await context.policy.check_upload(upload.picture, "image")
    masks = files.get("mask", [])
    if len(masks) > 1:
        raise RefusedError(400, "mask: send one.", "mask", "invalid_image")
    if masks:
        return upload.picture, (await context.uploads.decode(masks[0], "mask")).mask()
    # As the contract has it: without a mask, the picture's own transparency is one.
    clear = upload.alpha is not None and bool((upload.alpha < 128).any())
    return upload.picture, upload.mask("image") if clear else None

"""From a request of the OpenAI API to a job: which painter, how many candidates, which seed, which file format."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pinxit.errors import UsageError
from pinxit.pictures import Format, encode_picture
from pinxit.recipes.painting import picture_facts
from pinxit.serve.encoding import resize_square
from pinxit.serve.errors import RefusedError
from pinxit.serve.schemas import (
    BlendRequest,
    EditRequest,
    GenerationRequest,
    PictureRequest,
    StreamableRequest,
    VariationRequest,
)
from pinxit.texts import counted
from pinxit.types import Mask, Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pinxit.recipes.painting import Painter
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.catalog import Catalog, Model
    from pinxit.serve.settings import Settings
    from pinxit.types import Picture, Ranked

QUALITY_CANDIDATES = {
    "low": 1,
    "medium": 4,
    "xhigh": 64,
    "max": 64,
    "hd": 16,
    "high": 16,
}  # candidates; others: the settings' default
SEEDS = 2**31  # drawn seeds are below this: short enough to be typed


@dataclass(frozen=True)
class PaintPlan:
    """A request in which every choice has been made."""

    model: Model
    asked: PaintRequest
    side: int
    form: Format = "png"
    compression: int = 100
    as_url: bool = False
    quality: str = "auto"
    partials: int = 0
    warnings: list[str] = field(default_factory=list)
    contains_upload: bool = False  # for the signature's source type

    @property
    def size(self) -> str:
        """As clients write it."""
        return f"{self.side}x{self.side}"

    def without_uploads(self) -> PaintPlan:
        """For what follows once a job has them: it counts them, and lets go of them when it ends."""
        return replace(self, asked=replace(self.asked, more=None))

    def file(self, one: Ranked) -> bytes:
        """The file of a finished picture, with metadata."""
        facts = picture_facts(self.asked.prompt.text, one, self.model.facts(self.asked, self.side))
        return encode_picture(resize_square(one.picture, self.side), facts, self.form, self.compression)

    def preview_file(self, picture: Picture) -> bytes:
        """The file of a preview."""
        return encode_picture(resize_square(picture, self.side), {}, self.form, self.compression)

    def usage(self) -> dict[str, Any]:
        """Input tokens: of the prompt. Output tokens: codes, or denoising steps, of all candidates."""
        text = tokens_of(self.model.painter, self.asked.prompt.text)
        out = self.asked.candidates * steps_of(self.model.painter, self.asked)
        details = {"image_tokens": 0, "text_tokens": text}
        return {"input_tokens": text, "output_tokens": out, "total_tokens": text + out, "input_tokens_details": details}


def make_plan(
    body: PictureRequest,
    catalog: Catalog,
    settings: Settings,
    picture: Picture | None = None,
    mask: Mask | None = None,
    keep: int | None = None,
    other: Picture | None = None,
    given: Mapping[str, Any] | None = None,
) -> PaintPlan:
    """Resolve a request. Raises RefusedError and UsageError, before anything is painted, for what cannot be painted.

    `given`: settings of the painter, unless they are the fields of `body` that the API does not have.
    """
    model = catalog.model(body.model)
    count = keep or body.n or 1
    candidates = _candidates(body, count, settings)
    seed = secrets.randbelow(SEEDS) if body.seed is None else body.seed
    text = body.prompt.strip() if isinstance(body, GenerationRequest | EditRequest) else None
    _check_fields(body)
    given = (body.model_extra or {}) if given is None else given
    asked = _asked(model, text, seed, candidates, count, given)
    if picture is not None:
        asked = _with_picture(model, asked, body, given, picture, mask, other)
    side = _side_of(body.size, model)
    model.drawn_size(side)
    streamed = body if isinstance(body, StreamableRequest) else None
    url_first = bool(body.model and body.model.startswith("dall-e")) or streamed is None
    plan = PaintPlan(
        model,
        asked,
        side,
        as_url=(body.response_format or ("url" if url_first else "b64_json")) == "url",
        warnings=_warnings(body, model, text),
        contains_upload=picture is not None,
    )
    if streamed is None:
        return plan
    return replace(
        plan,
        form=streamed.output_format or "png",
        compression=100 if streamed.output_compression is None else streamed.output_compression,
        quality=streamed.quality or "auto",
        partials=(streamed.partial_images or 0) if streamed.stream else 0,
    )


def tokens_of(painter: Painter, text: str) -> int:
    """How many tokens of a text the painter reads."""
    reader = painter.reader
    count = painter.ranker.tokenizer.count(text) if reader is None else reader.lengths([text])[0]
    return min(count, painter.text_tokens)


def steps_of(painter: Painter, asked: PaintRequest) -> int:
    """Network calls for a candidate: codes, or denoising steps."""
    grid = getattr(painter, "grid", None)
    return int(grid * grid if grid else asked.settings.get("steps", 1))


def default_candidates(settings: Settings) -> int:
    """How many are drawn if the request does not say."""
    return min(settings.candidates, settings.most_candidates)


def _check_fields(body: PictureRequest) -> None:
    """Raise RefusedError for a field that belongs to another route, and for a compression that PNG does not have."""
    for name in body.model_extra or {}:
        if takers := [route for route, kind in _ROUTES.items() if name in kind.model_fields]:
            raise RefusedError(400, f"{name}: only {' and '.join(takers)} take it.", name, "invalid_value")
    if not isinstance(body, StreamableRequest) or body.output_compression in (None, 100):
        return
    if body.output_format in (None, "png"):
        message = "output_compression: a PNG is not compressed below 100; choose the output_format jpeg or webp."
        raise RefusedError(400, message, "output_compression", "invalid_value")


def _candidates(body: PictureRequest, count: int, settings: Settings) -> int:
    if body.candidates and body.candidates < count:
        raise RefusedError(
            400, f"candidates: {count} pictures cannot be the best of fewer.", "candidates", "invalid_value"
        )
    quality = (body.quality or "") if isinstance(body, StreamableRequest) else ""
    usual = QUALITY_CANDIDATES.get(quality, default_candidates(settings))
    drawn, most = max(body.candidates or usual, count), settings.most_candidates
    if drawn > most:
        field = "candidates" if body.candidates else "quality" if usual > most else "n"
        raise RefusedError(400, f"{field}: at most {counted(most, 'candidate')} can be drawn here.", field, "too_many")
    return drawn


def _asked(
    model: Model, text: str | None, seed: int, candidates: int, keep: int, given: Mapping[str, Any]
) -> PaintRequest:
    """`text`: None where a picture says what to paint."""
    if text == "":
        raise RefusedError(400, "the prompt is empty: say what to paint.", "prompt", "invalid_value")
    with _naming(given):
        return model.painter.asked(Prompt(text or "", seed), candidates, keep, given, wordless=text is None)


@contextmanager
def _naming(given: Mapping[str, Any]) -> Iterator[None]:
    """Refuse with the name of the setting what the block raises UsageError for."""
    try:
        yield
    except UsageError as error:
        words = re.findall(r"\w+", str(error))  # it is named first: what can be chosen instead comes later
        param = next((word for word in words if word in given), None)
        raise RefusedError(400, str(error), param, "invalid_value") from error


def _with_picture(
    model: Model,
    asked: PaintRequest,
    body: PictureRequest,
    given: Mapping[str, Any],
    picture: Picture,
    mask: Mask | None,
    other: Picture | None,
) -> PaintRequest:
    verb, ability = _ABILITIES[type(body)]
    if ability not in model.can:
        raise RefusedError(
            400, f"{model.name} cannot {verb}: choose another model of /v1/models.", "model", "unsupported"
        )
    painter: Any = model.painter
    if ability == "vary":
        with _naming(given):
            painter.used_settings(given, own_noise=False)
        varied: PaintRequest = painter.varying(asked, picture)
        return varied
    if ability == "blend":
        blended: PaintRequest = painter.blending(asked, picture, other)
        return blended
    if mask is not None and mask.paint.shape != picture.shape[:2]:
        raise RefusedError(400, "the mask must be as large as the picture.", "mask", "invalid_value")
    edited: PaintRequest = painter.editing(asked, picture, mask)
    return edited


_ABILITIES: dict[type[PictureRequest], tuple[str, str]] = {
    EditRequest: ("edit a picture", "edit"),
    VariationRequest: ("make variations of a picture", "vary"),
    BlendRequest: ("blend two pictures", "blend"),
}


_ROUTES: dict[str, type[PictureRequest]] = {"generations": GenerationRequest, "edits": EditRequest}


def _side_of(size: str | None, model: Model) -> int:
    if size in (None, "auto"):
        return model.default_size
    assert size is not None
    width, height = (int(part) for part in size.split("x"))
    if width != height:
        raise RefusedError(400, "size: pictures are square here, such as 256x256.", "size", "invalid_value")
    return width


def _warnings(body: PictureRequest, model: Model, text: str | None) -> list[str]:
    found = [f"{name} has no effect {why}." for name, why in _without_effect(body)]
    if text and (dropped := model.painter.tokens_over_limit(text)):
        limit = model.painter.text_tokens
        found.append(f"the prompt is {counted(dropped, 'token')} over the limit of {limit}; its end is ignored.")
    if text and (unknown := model.painter.unknown_words(text)):
        found.append(f"{counted(len(unknown), 'word')} of the prompt did not occur in training.")
    return found


def _without_effect(body: PictureRequest) -> Iterator[tuple[str, str]]:
    """The fields of a request that change nothing, each with where or why."""
    if isinstance(body, GenerationRequest) and body.style is not None:
        yield "style", "on the painters of this server"
    if isinstance(body, EditRequest) and body.input_fidelity is not None:
        yield "input_fidelity", "on the painters of this server"
    if not isinstance(body, StreamableRequest):
        return
    if body.moderation == "low":
        yield "moderation", "on this server, whose content policy is one for all"
    if body.stream and body.response_format == "url":
        yield "response_format", "on a stream, whose events hold the pictures as base64"
    if body.partial_images and not body.stream:
        yield "partial_images", "without stream"

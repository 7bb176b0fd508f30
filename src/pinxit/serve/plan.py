"""From a request of the OpenAI contract to a job: which painter, how many candidates, which seed, which file."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinxit.errors import UsageError
from pinxit.recipes.painting import picture_facts
from pinxit.serve.encoding import Format, encoded, resampled
from pinxit.serve.errors import RefusedError
from pinxit.serve.schemas import BlendRequest, EditRequest, GenerationRequest, Painted, Streamed, VariationRequest
from pinxit.types import Mask, Prompt

if TYPE_CHECKING:
    from pinxit.recipes.painting import Painter
    from pinxit.recipes.requests import PaintRequest
    from pinxit.serve.catalog import Catalog, Model
    from pinxit.serve.settings import Settings
    from pinxit.types import Picture, Ranked

OF_QUALITY = {"low": 1, "medium": 4, "xhigh": 64, "max": 64, "hd": 16, "high": 16}  # candidates; else the settings'
SEEDS = 2**31  # of those drawn here: short enough to be read out


@dataclass(frozen=True)
class Plan:
    """A request, settled: nothing in it is left to chance."""

    model: Model
    asked: PaintRequest
    side: int
    form: Format = "png"
    compression: int = 100
    as_url: bool = False
    quality: str = "auto"
    partials: int = 0
    drawn_seed: bool = False  # the client gave none
    warnings: list[str] = field(default_factory=list)
    of_others: bool = False  # something that was sent is in it

    @property
    def size(self) -> str:
        """As clients write it."""
        return f"{self.side}x{self.side}"

    def file(self, one: Ranked) -> bytes:
        """The file of a finished picture."""
        facts = picture_facts(self.asked.prompt.text, one, self.model.facts(self.asked, self.side))
        return encoded(resampled(one.picture, self.side), facts, self.form, self.compression)

    def look(self, picture: Picture) -> bytes:
        """The file of a picture under way."""
        return encoded(resampled(picture, self.side), {}, self.form, self.compression)

    def usage(self) -> dict[str, Any]:
        """Tokens of the text; codes, or steps, of all candidates."""
        text = tokens_of(self.model.painter, self.asked.prompt.text)
        out = self.asked.candidates * steps_of(self.model.painter, self.asked)
        details = {"image_tokens": 0, "text_tokens": text}
        return {"input_tokens": text, "output_tokens": out, "total_tokens": text + out, "input_tokens_details": details}


def planned(
    body: Painted,
    catalog: Catalog,
    settings: Settings,
    picture: Picture | None = None,
    mask: Mask | None = None,
    keep: int | None = None,
    other: Picture | None = None,
) -> Plan:
    """What a request comes to. Raises RefusedError and UsageError, before anything is painted, for what cannot be."""
    model = catalog.model(body.model)
    count = keep or body.n or 1
    candidates = _candidates(body, count, settings)
    seed = secrets.randbelow(SEEDS) if body.seed is None else body.seed
    text = body.prompt.strip() if isinstance(body, GenerationRequest | EditRequest) else ""
    asked = _asked(model, Prompt(text, seed), candidates, count, body.model_extra or {}, picture)
    if picture is not None:
        asked = _with_picture(model, asked, body, picture, mask, other)
    side = _side(body.size, model)
    model.drawn_at(side)
    streamed = body if isinstance(body, Streamed) else None
    url_first = bool(body.model and body.model.startswith("dall-e")) or streamed is None
    return Plan(
        model,
        asked,
        side,
        (streamed and streamed.output_format) or "png",
        100 if streamed is None or streamed.output_compression is None else streamed.output_compression,
        (body.response_format or ("url" if url_first else "b64_json")) == "url",
        (streamed and streamed.quality) or "auto",
        0 if streamed is None or not streamed.stream else streamed.partial_images or 0,
        body.seed is None,
        list(_warnings(body, model, text)),
        picture is not None,
    )


def tokens_of(painter: Painter, text: str) -> int:
    """Of a text, as the painter reads it: those that it keeps."""
    reader = painter.reader
    count = painter.ranker.tokenizer.count(text) if reader is None else reader.lengths([text])[0]
    return min(count, painter.text_tokens)


def steps_of(painter: Painter, asked: PaintRequest) -> int:
    """Calls of the network for a candidate: codes, or steps of a sampler."""
    grid = getattr(painter, "grid", None)
    return int(grid * grid if grid else asked.settings.get("steps", 1))


def _candidates(body: Painted, count: int, settings: Settings) -> int:
    quality = body.quality if isinstance(body, Streamed) else None
    asked = body.candidates or OF_QUALITY.get(quality or "", settings.candidates)
    if asked > settings.most_candidates:
        raise RefusedError(
            400, f"candidates: at most {settings.most_candidates} are drawn here.", "candidates", "too_many"
        )
    if body.candidates and body.candidates < count:
        raise RefusedError(
            400, f"candidates: {count} pictures cannot be the best of fewer.", "candidates", "invalid_value"
        )
    return max(asked, count)


def _asked(
    model: Model, prompt: Prompt, candidates: int, keep: int, given: dict[str, Any], picture: Picture | None
) -> PaintRequest:
    if not prompt.text and picture is None:
        raise RefusedError(400, "the prompt is empty: say what to paint.", "prompt", "invalid_value")
    try:
        return model.painter.asked(prompt, candidates, keep, given, wordless=picture is not None)
    except UsageError as error:
        param = next((name for name in given if name in str(error)), None)
        raise RefusedError(400, str(error), param, "invalid_value") from error


def _with_picture(
    model: Model, asked: PaintRequest, body: Painted, picture: Picture, mask: Mask | None, other: Picture | None
) -> PaintRequest:
    verb, does = _ABLE[type(body)]
    if does not in model.can:
        raise RefusedError(
            400, f"{model.name} cannot {verb}: choose another model of /v1/models.", "model", "unsupported"
        )
    painter: Any = model.painter
    if does == "vary":
        varied: PaintRequest = painter.varying(asked, picture)
        return varied
    if does == "blend":
        blended: PaintRequest = painter.blending(asked, picture, other)
        return blended
    if mask is not None and mask.paint.shape != picture.shape[:2]:
        raise RefusedError(400, "the mask must be as large as the picture.", "mask", "invalid_value")
    edited: PaintRequest = painter.editing(asked, picture, mask)
    return edited


_ABLE: dict[type[Painted], tuple[str, str]] = {
    EditRequest: ("edit a picture", "edit"),
    VariationRequest: ("make variations of one", "vary"),
    BlendRequest: ("blend two pictures", "blend"),
}


def _side(size: str | None, model: Model) -> int:
    if size in (None, "auto"):
        return model.usual
    assert size is not None
    width, height = (int(part) for part in size.split("x"))
    if width != height:
        raise RefusedError(400, "size: pictures are square here, such as 256x256.", "size", "invalid_value")
    return width


def _warnings(body: Painted, model: Model, text: str) -> list[str]:
    found = []
    if isinstance(body, GenerationRequest) and body.style is not None:
        found.append("style says nothing to the painters of this server.")
    if isinstance(body, EditRequest) and body.input_fidelity is not None:
        found.append("input_fidelity says nothing to the painters of this server.")
    if text and (dropped := model.painter.tokens_over_limit(text)):
        limit = model.painter.text_tokens
        found.append(f"the prompt is {dropped} tokens over the limit of {limit}; its end was not read.")
    if text and (unknown := model.painter.unknown_words(text)):
        found.append(f"{len(unknown)} words of the prompt were never met in training.")
    return found

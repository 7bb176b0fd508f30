"""DALL-E as a graph: text -> codes by the token transformer -> pixels by the dVAE's decoder -> ranked by CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pinxit.data.transforms import to_pictures, to_tensor
from pinxit.models.decoder import CachedDecoder
from pinxit.models.dvae import DVAE
from pinxit.models.transformer import TokenTransformer
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.rank import encode_fixed
from pinxit.pipelines.token_tile import UNKNOWN, TokenRequest, TokenResult
from pinxit.pipelines.tokens import TokenWorker, rows_of
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import Each
from pinxit.recipes.dalle.holes import Hole, paste_known
from pinxit.recipes.painting import Asked, Drawn, Ranker, ranking
from pinxit.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from pinxit.types import Picture

ROUTE = ("text", "tokens", "pixels", "look", "rank")


@dataclass(frozen=True)
class Completion:
    """A picture of which a part is drawn anew."""

    known: Picture  # the painter's size
    hole: Hole
    weight: float  # of the log-likelihood of what follows the hole, in the score


@dataclass(frozen=True)
class Parts:
    """What draws."""

    dvae: DVAE
    transformer: TokenTransformer
    tokenizer: Tokenizer
    ranker: Ranker
    device: torch.device
    rows: int | None  # of a tile; None: the device's usual
    int8: bool


def graph(parts: Parts) -> Graph:
    """The stages, and the way of a prompt through them."""
    lanes = Lanes(parts.device)
    rows = parts.rows or rows_of(lanes)
    (decoder,) = lanes.run([partial(CachedDecoder, parts.transformer, rows, int8=parts.int8)])
    text = Each(lambda items: [requests(parts, item.job.request) for item in items], lanes=lanes)
    pixels = Each(lambda items: drawn(parts, items), parts.ranker.batch, lanes)
    stages = [
        Stage("text", text),
        Stage("tokens", TokenWorker(decoder, lanes), weight=1.0, shown="pixels"),
        Stage("pixels", pixels, weight=0.02),
        *ranking(parts.ranker, lanes),
    ]
    return Graph(stages, {"paint": ROUTE})


def requests(parts: Parts, asked: Asked) -> list[TokenRequest]:
    """One a candidate."""
    text, seed = asked.prompt.text, asked.prompt.seed
    ids = torch.from_numpy(parts.tokenizer.encode([text], parts.transformer.config.text_tokens))[0]
    settings = {name: value for name, value in asked.settings.items() if name != "agreement"}
    known = known_codes(parts, asked.more) if isinstance(asked.more, Completion) else None
    return [TokenRequest(ids, seed, candidate, **settings, known=known) for candidate in range(asked.candidates)]


@torch.inference_mode()
def known_codes(parts: Parts, whole: Completion) -> Tensor:
    """The codes of the picture that is completed: int64 [h, w], UNKNOWN in the hole."""
    codes = parts.dvae.encode_codes(to_tensor(whole.known[None]).to(parts.device))[0].cpu()
    return torch.where(torch.from_numpy(whole.hole), UNKNOWN, codes)


@torch.inference_mode()
def drawn(parts: Parts, items: Sequence[WorkItem]) -> list[Drawn]:
    """Pictures of finished codes, and of those under way, whose cells are gray where nothing is drawn yet."""
    codes = [item.value.codes if isinstance(item.value, TokenResult) else item.value for item in items]
    rows = torch.stack([one.clamp(min=0) for one in codes]).to(parts.device)
    pictures = to_pictures(encode_fixed(parts.dvae.decode_codes, rows, parts.ranker.batch).cpu())
    return [_drawn(parts, *found) for found in zip(items, codes, pictures, strict=True)]


def _drawn(parts: Parts, item: WorkItem, codes: Tensor, picture: Picture) -> Drawn:
    cell = parts.dvae.config.size // parts.dvae.grid
    missing = np.kron((codes == UNKNOWN).cpu().numpy(), np.ones((cell, cell), bool))[..., None]
    picture = np.where(missing, np.uint8(128), picture)
    whole = item.job.request.more
    if not isinstance(whole, Completion):
        return Drawn(picture)
    likely = item.value.log_likelihood if isinstance(item.value, TokenResult) else 0.0
    return Drawn(paste_known(whole.known, picture, whole.hole), likely * whole.weight)

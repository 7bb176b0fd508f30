"""DALL-E as a graph: how a sentence becomes a picture.

| stage | worker | from | to |
|---|---|---|---|
| `text` | `FunctionWorker` | the job's `PaintRequest` | a `TokenRequest` a candidate: text tokens, seed, settings |
| `tokens` | `TokenWorker` | a `TokenRequest` | a `TokenResult`: the h x w codes that the transformer drew one by one |
| `pixels` | `FunctionWorker` | codes | a `Candidate`: the picture that the dVAE's decoder makes of them |
| `embed` | `FunctionWorker` | candidates | the same with their CLIP embeddings |
| `rank` | `FunctionWorker`, gathers | all candidates of the job | the kept ones as `Ranked`, best first |

`pipelines.engine` moves items from stage to stage; a worker computes as many of one stage as its tile has rows for.
"""

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
from pinxit.pipelines.lanes import Lanes, tile_of
from pinxit.pipelines.rank import encode_fixed
from pinxit.pipelines.token_tile import UNKNOWN, TokenRequest, TokenResult
from pinxit.pipelines.tokens import TokenWorker, rows_of
from pinxit.pipelines.work import WorkItem
from pinxit.pipelines.worker import FunctionWorker
from pinxit.recipes.dalle.holes import Hole, paste_known
from pinxit.recipes.ranking import CPU_PICTURES, Ranker, ranking_stages
from pinxit.recipes.requests import Candidate, PaintRequest
from pinxit.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from pinxit.types import Picture

ROUTE = ("text", "tokens", "pixels", "embed", "rank")


@dataclass(frozen=True)
class Completion:
    """A picture of which a part is redrawn."""

    known: Picture  # of the painter's size
    hole: Hole
    weight: float  # in the score, of the log-likelihood of the known codes after the hole


@dataclass(frozen=True)
class Parts:
    """The loaded models that the stages call."""

    dvae: DVAE
    transformer: TokenTransformer
    tokenizer: Tokenizer
    ranker: Ranker
    device: torch.device
    rows: int | None  # of a tile, at least two; None: the device's default
    int8: bool


def graph(parts: Parts) -> Graph:
    """The stages, and the route of a prompt through them."""
    lanes = Lanes(parts.device)
    rows = max(2, parts.rows or rows_of(lanes))  # a guided picture takes two of one tile
    (decoder,) = lanes.run([partial(CachedDecoder, parts.transformer, rows, int8=parts.int8)])
    stages = [
        Stage("text", FunctionWorker(lambda items: [requests(parts, item.job.request) for item in items], lanes=lanes)),
        Stage("tokens", TokenWorker(decoder, lanes), weight=1.0, shown="pixels"),
        Stage(
            "pixels", FunctionWorker(lambda items: pictures(parts, items), pictures_a_call(parts), lanes), weight=0.02
        ),
        *ranking_stages(parts.ranker, lanes),
    ]
    return Graph(stages, {"paint": ROUTE})


def requests(parts: Parts, asked: PaintRequest) -> list[TokenRequest]:
    """One `TokenRequest` for each candidate."""
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


def pictures_a_call(parts: Parts) -> int:
    """How many pictures the dVAE decodes in one call, whichever CLIP ranks them, and on whichever device."""
    return tile_of(parts.device, CPU_PICTURES)


@torch.inference_mode()
def pictures(parts: Parts, items: Sequence[WorkItem]) -> list[Candidate]:
    """Pictures of finished codes, and previews of unfinished ones, gray where nothing is drawn yet."""
    codes = [item.value.codes if isinstance(item.value, TokenResult) else item.value for item in items]
    rows = torch.stack([one.clamp(min=0) for one in codes]).to(parts.device)
    decoded = to_pictures(encode_fixed(parts.dvae.decode_codes, rows, pictures_a_call(parts)).cpu())
    return [_picture(parts, *one) for one in zip(items, codes, decoded, strict=True)]


def _picture(parts: Parts, item: WorkItem, codes: Tensor, picture: Picture) -> Candidate:
    cell = parts.dvae.config.size // parts.dvae.grid
    missing = np.kron((codes == UNKNOWN).cpu().numpy(), np.ones((cell, cell), bool))[..., None]
    picture = np.where(missing, np.uint8(128), picture)
    whole = item.job.request.more
    if not isinstance(whole, Completion):
        return Candidate(picture)
    likely = item.value.log_likelihood if isinstance(item.value, TokenResult) else 0.0
    return Candidate(paste_known(whole.known, picture, whole.hole), likely * whole.weight)

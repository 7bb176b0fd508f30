"""How a decoder that was an Imagen's base first understands picture embeddings: as the captions that it can read.

The base draws by what it makes of a caption: a vector in its time embedding, and a sequence for its attention. Both can
be predicted from the embedding of the caption's picture, poorly but at once, by linear regression. Weights that began
at zero explained less after 5,400 pictures of training than these do before the first (docs/log.md).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.models.unet_conditioning import Conditioning
from pinxit.training.rows import whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinxit.recipes.diffusion.task import DiffusionTask

PICTURES, AT_ONCE = 4096, 256
RIDGE = 1.0  # added to the sums of squares, about PICTURES for coordinates of unit variance
OWN, IMAGE = "conditioning.", "conditioning.image."


@torch.inference_mode()
def first_inputs(task: DiffusionTask, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the decoder's inputs for embeddings, by its names, fitted to what `base` makes of captions.

    `task`: the decoder's, with its data; `base`: the weights of an Imagen's base. Empty for a network without text.
    """
    config = task.config.unet
    if not config.text:
        return {}
    conditioning = Conditioning(config).eval()
    own = {name.removeprefix(OWN): value.float() for name, value in base.items() if name.startswith(OWN)}
    conditioning.load_state_dict(own, strict=False)  # the base has no inputs for embeddings
    told = copy.copy(task)
    told.drop = told.drop_image = 0.0
    embeddings, vectors, tokens = [], [], []
    for first in range(0, PICTURES, AT_ONCE):
        batch = told.batch(whole(first, AT_ONCE))
        vector, context = conditioning.read(batch["sequence"], batch["mask"])
        embeddings.append(batch["image"])
        tokens.append(averages(context, batch["mask"], config.image_tokens).flatten(1))
        if vector is not None:
            vectors.append(vector - _of_nothing(conditioning, batch))
    known = torch.cat(embeddings)
    fitted: dict[str, Tensor] = {}
    if config.image_tokens:
        fitted |= _named("tokens", regression(known, torch.cat(tokens)))
    if vectors:
        fitted |= _named("embed", regression(known, torch.cat(vectors)))
    return fitted


def _of_nothing(conditioning: Conditioning, batch: Mapping[str, Tensor]) -> Tensor:
    """The vector of no text at all, which is in the time embedding already."""
    vector, _ = conditioning.read(batch["sequence"][:1], torch.zeros_like(batch["mask"][:1]))
    assert vector is not None
    return vector


def _named(layer: str, weights: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """The weight and the bias of a layer by their names in the decoder."""
    return dict(zip((f"{IMAGE}{layer}.weight", f"{IMAGE}{layer}.bias"), weights, strict=True))


def averages(context_BLD: Tensor, mask_BL: Tensor, count: int) -> Tensor:
    """The means of `count` equal parts of each text, [B, K, D]; of a text too short for that parts overlap."""
    length_B = mask_BL.sum(1)
    place_L = torch.arange(mask_BL.shape[1])
    means = []
    for part in range(count):
        start_B = length_B * part // count
        end_B = torch.maximum(length_B * (part + 1) // count, start_B + 1)
        inside_BL = (place_L >= start_B[:, None]) & (place_L < end_B[:, None]) & mask_BL
        weights_BL = F.normalize(inside_BL.float(), p=1, dim=1)
        means.append(torch.einsum("bl,bld->bd", weights_BL, context_BLD))
    return torch.stack(means, 1) if means else context_BLD[:, :0]  # K = 0: a network without image tokens


def regression(known_BX: Tensor, wanted_BY: Tensor) -> tuple[Tensor, Tensor]:
    """The weight [Y, X] and bias [Y] of a linear layer from `known` to `wanted`, by ridge regression."""
    x, y = (torch.cat([known_BX, torch.ones(len(known_BX), 1)], 1).double(), wanted_BY.double())
    solved = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1], dtype=torch.float64), x.T @ y).float()
    return solved[:-1].T.contiguous(), solved[-1].contiguous()

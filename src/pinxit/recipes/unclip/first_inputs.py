"""How a decoder that was an Imagen's base first understands picture embeddings: as the captions that it can read.

The base draws by what it makes of a caption: a vector in its time embedding, and a sequence for its attention. Both can
be predicted from the embedding of the caption's picture at once: poorly by linear regression, and better by an MLP
where the network has one (`image_hidden`). Weights that began at zero explained less after 5,400 pictures of training
than linear regression does before the first (docs/log.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.models.unet_conditioning import Conditioning, PictureEmbedding
from pinxit.training.draws import seeded, torch_rng
from pinxit.training.rows import all_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinxit.recipes.diffusion.task import DiffusionTask

PICTURES, AT_ONCE = 4096, 256
MORE = 4  # times as many for an MLP
RIDGE = 1.0  # added to the sums of squares, about PICTURES for coordinates of unit variance
EPOCHS, RATE, DECAY = 14, 1e-3, 0.05  # of fitting an MLP
DROPPED = 0.1  # share of the fit's embeddings that are zeros, as dropped ones are: their answer is the mean
OWN, IMAGE = "conditioning.", "conditioning.image."


def first_inputs(task: DiffusionTask, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the decoder's inputs for embeddings, by its names, fitted to what `base` makes of captions.

    `task`: the decoder's, with its data; `base`: the weights of an Imagen's base. Empty for a network without text.
    """
    config = task.config.unet
    if not config.text:
        return {}
    conditioning = seeded(lambda: Conditioning(config), task.seed, "first inputs").eval()
    own = {
        name.removeprefix(OWN): value.float()
        for name, value in base.items()
        if name.startswith(OWN) and not name.startswith(IMAGE)
    }
    conditioning.load_state_dict(own, strict=False)  # the base has no inputs for embeddings
    known, vectors, tokens = _examples(task, conditioning, PICTURES * (MORE if config.image_hidden else 1))
    assert conditioning.image is not None
    if config.image_hidden:
        fit(conditioning.image, known, vectors, tokens, task.seed)
        return {f"{IMAGE}{name}": value.detach() for name, value in conditioning.image.state_dict().items()}
    fitted: dict[str, Tensor] = {}
    if config.image_tokens:
        fitted |= _named("tokens", regression(known, tokens))
    if vectors is not None:
        fitted |= _named("embed", regression(known, vectors))
    return fitted


@torch.no_grad()
def _examples(task: DiffusionTask, conditioning: Conditioning, count: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Embeddings [N, X], and what the base makes of their pictures' plainest captions: [N, E] and [N, KD]."""
    embeddings, vectors, tokens = [], [], []
    for first in range(0, count, AT_ONCE):
        batch = task.shortest_captions(all_rows(first, AT_ONCE))
        vector, context = conditioning.read(batch["sequence"], batch["mask"])
        embeddings.append(batch["image"])
        tokens.append(averages(context, batch["mask"], task.config.unet.image_tokens).flatten(1))
        if vector is not None:
            vectors.append(vector - _of_nothing(conditioning, batch))
    return torch.cat(embeddings), torch.cat(vectors) if vectors else None, torch.cat(tokens)


def fit(picture: PictureEmbedding, known_NX: Tensor, vectors: Tensor | None, tokens: Tensor, seed: int) -> None:
    """Train an MLP and its projections to give `vectors` [N, E] and `tokens` [N, KD] for embeddings.

    For an embedding of zeros it learns their means. The sums of squares count relative to their variance.
    """
    wanted = [(picture.embed, vectors), (picture.tokens, tokens)]
    pairs = [(layer, each) for layer, each in wanted if layer is not None and each is not None]
    if not pairs:  # the base makes no vector of a caption, and the decoder takes no tokens of a picture
        return
    means = [each.mean(0) for _, each in pairs]
    scales = [float(each.var(0).mean()) + 1e-12 for _, each in pairs]
    for (layer, _), mean in zip(pairs, means, strict=True):
        layer.bias.data.copy_(mean)
    draw = torch_rng(seed, "first inputs")
    updates = EPOCHS * len(known_NX) // AT_ONCE
    optimiser = torch.optim.AdamW(picture.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=updates)
    for _ in range(updates):
        chosen = torch.randint(len(known_NX), (AT_ONCE,), generator=draw)
        dropped = torch.rand(AT_ONCE, 1, generator=draw) < DROPPED
        read = picture.mlp(known_NX[chosen].masked_fill(dropped, 0))
        loss = torch.zeros(())
        for (layer, each), mean, scale in zip(pairs, means, scales, strict=True):
            loss = loss + F.mse_loss(layer(read), torch.where(dropped, mean, each[chosen])) / scale
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


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

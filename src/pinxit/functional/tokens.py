"""The training loss of the token transformer: text and picture cross-entropy, weighted 1/8 and 7/8.

Zero-Shot Text-to-Image Generation (arXiv 2102.12092), section 2.2. Shapes: B batch, L text positions, N picture tokens,
V text vocabulary, K picture codes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

PAD = 0  # the text id that means "no token here"


def token_loss(
    text_logits: Tensor,
    image_logits: Tensor,
    text: Tensor,
    codes: Tensor,
    text_weight: float = 1 / 8,
    count_pads: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, text_ce, image_ce), scalars in nats per token; loss = w text_ce + (1 - w) image_ce.

    `text_logits` [B, L, V] and `text` [B, L]; `image_logits` [B, N, K] and `codes` ([B, N] or [B, h, w]). Each
    cross-entropy is the mean over the tokens of its kind in the batch. Pads are no targets, unless `count_pads`: then
    predicting id 0 is predicting "no more text". A batch without any text has text_ce 0, and no gradient from it.
    """
    ignore = -100 if count_pads else PAD
    counted = (text != ignore).sum().clamp(min=1)
    total = F.cross_entropy(text_logits.flatten(0, 1).float(), text.flatten(), ignore_index=ignore, reduction="sum")
    text_ce = total / counted
    image_ce = F.cross_entropy(image_logits.flatten(0, 1).float(), codes.flatten())
    return text_weight * text_ce + (1 - text_weight) * image_ce, text_ce, image_ce

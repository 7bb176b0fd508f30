"""Pictures with holes, the input of an inpainting network: GLIDE (arXiv 2112.10741), section 2.4.

A hole is where the mask is True (white): "paint here". Shapes: B pictures [3, H, W] in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from pinxit.functional.draws import Draws

WHOLE = 0.25  # share of training pictures that are all hole, so that painting whole pictures is not unlearned
LEAST = 1 / 8  # of a side, the smallest hole


def with_holes(x_B3HW: Tensor, paint_BHW: Tensor) -> Tensor:
    """[B, 4, H, W]: the picture, grey where it is to be painted, and the mask, 1 there and 0 where it is kept."""
    paint = paint_BHW[:, None]
    return torch.cat([x_B3HW.masked_fill(paint, 0.0), paint.to(x_B3HW.dtype)], 1)


def random_holes(count: int, side: int, draws: Draws, whole: float = WHOLE) -> Tensor:
    """bool [count, side, side] on the device of the draws: random boxes, and for a share `whole` everything."""
    draw = draws.uniform(count, 5)
    size = (LEAST + (1 - LEAST) * draw[:, :2]) * side
    size = torch.where(draw[:, 4:] < whole, 2.0 * side, size)
    corner = draw[:, 2:4] * side - size / 2
    places = torch.arange(side, device=draw.device) + 0.5
    inside = (places >= corner[..., None]) & (places < (corner + size)[..., None])
    return inside[:, 0, :, None] & inside[:, 1, None, :]

"""Centre heat maps: their targets, their loss, their peaks (Zhou et al. 2019, Objects as Points).

Shapes: B pictures, N names, h and w cells of the map, M objects of all pictures together.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def heat_targets(shape: tuple[int, int, int, int], place_M3: Tensor, centre_M2: Tensor, sigma_M: Tensor) -> Tensor:
    """Target map [B, N, h, w]: 1 in the cell of each centre, a Gaussian of `sigma` cells around it (section 3).

    `place_M3`: picture, name, and flat cell of every object; `centre_M2`: its centre (x, y) in cells.
    """
    B, N, h, w = shape
    x, y = torch.arange(w, device=sigma_M.device), torch.arange(h, device=sigma_M.device)
    col_M, row_M = centre_M2.floor().unbind(1)
    square = (x - col_M[:, None])[:, None, :] ** 2 + (y - row_M[:, None])[:, :, None] ** 2
    bumps = torch.exp(-square / (2 * sigma_M**2)[:, None, None]).flatten(1)
    target = torch.zeros(B * N, h * w, device=sigma_M.device)
    index = (place_M3[:, 0] * N + place_M3[:, 1])[:, None].expand(-1, h * w)
    target.scatter_reduce_(0, index, bumps, "amax")
    return target.view(shape)


def heat_loss(logits_BNhw: Tensor, target_BNhw: Tensor, objects: int, counts: Tensor | None = None) -> Tensor:
    """Penalty-reduced focal loss over the map, divided by the number of objects (equation 1: alpha 2, beta 4).

    Cells where `counts` (bool, broadcast to the map) is False cost nothing.
    """
    p = logits_BNhw.float().sigmoid()
    centre = target_BNhw == 1
    hit = F.logsigmoid(logits_BNhw.float()) * (1 - p) ** 2
    miss = F.logsigmoid(-logits_BNhw.float()) * p**2 * (1 - target_BNhw) ** 4
    cost = torch.where(centre, hit, miss)
    return -(cost if counts is None else cost * counts).sum() / max(objects, 1)


def peaks(logits_BNhw: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `limit` strongest local maxima (3 x 3) of each picture: score, name, and flat cell, each [B, limit]."""
    heat = logits_BNhw.float().sigmoid()
    heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
    cells = heat.shape[2] * heat.shape[3]
    score, index = heat.flatten(1).topk(limit)
    return score, index // cells, index % cells

"""Multinomial logistic regression by L-BFGS, as linear probes use it. Shapes: N rows, D features, C classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Linear(NamedTuple):
    """A linear classifier: logits = x weight^T + bias."""

    weight: Tensor  # [C, D]
    bias: Tensor  # [C]

    def __call__(self, x_ND: Tensor) -> Tensor:
        return F.linear(x_ND, self.weight, self.bias)


def fit_logistic(
    x_ND: Tensor, y_N: Tensor, classes: int, strength: float, start: Linear | None = None, updates: int = 1000
) -> Linear:
    """The minimum of strength * sum of cross-entropies + |weight|^2 / 2 (scikit-learn's C is `strength`).

    In double precision. `start` is a warm start: the problem is convex, so it changes only how long this takes.
    """
    x_ND = x_ND.double()
    if start is None:
        start = Linear(x_ND.new_zeros(classes, x_ND.shape[1]), x_ND.new_zeros(classes))
    weight, bias = (part.detach().clone().double().requires_grad_() for part in start)
    scale = 1 / (strength * len(x_ND))  # the objective over strength * N: tolerances then mean the same for all
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=updates, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = F.cross_entropy(F.linear(x_ND, weight, bias), y_N) + 0.5 * scale * weight.square().sum()
        torch.autograd.backward(total)
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return Linear(weight.detach(), bias.detach())

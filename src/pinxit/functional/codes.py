"""Discrete codes: Gumbel-softmax, nearest codebook vectors, finite scalar quantisation, and codebook usage."""

from __future__ import annotations

from itertools import accumulate
from math import log
from operator import mul

import torch
from torch import Tensor

from pinxit.functional.draws import Draws


def gumbel_noise(like: Tensor, draws: Draws) -> Tensor:
    """Standard Gumbel noise, -ln(-ln u), of the shape and device of `like`, drawn wherever `draws` are."""
    u = draws.uniform(*like.shape)
    tiny = torch.finfo(u.dtype).tiny
    return -torch.log(-torch.log(u.clamp(tiny, 1 - 2**-24))).to(like.device)


def gumbel_softmax(logits: Tensor, temperature: float, draws: Draws | None, dim: int) -> Tensor:
    """softmax((logits + gumbel) / temperature) along `dim`; no noise without `draws`.

    DALL-E (arXiv 2102.12092) section 2.1. As the temperature goes to 0 it is the one-hot of the argmax.
    """
    noisy = logits if draws is None else logits + gumbel_noise(logits, draws)
    return torch.softmax(noisy / temperature, dim=dim)


def kl_to_uniform(logits: Tensor, dim: int) -> Tensor:
    """KL(softmax(logits) || uniform) in nats, `dim` reduced: ln K + sum_k q_k ln q_k."""
    ln_q = torch.log_softmax(logits, dim=dim)
    return log(logits.shape[dim]) + (ln_q.exp() * ln_q).sum(dim)


def straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return soft + (hard - soft).detach()


def nearest_code(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index int64 [N] of the row of `codebook` [K, D] nearest to each of `vectors` [N, D]."""
    return argmin_rows(torch.addmm(codebook.square().sum(1), vectors, codebook.t(), alpha=-2.0))


def argmin_rows(scores: Tensor, columns: int = 64) -> Tensor:
    """The argmin of each row of `scores` [N, K], int64 [N].

    On a CPU `amin` is vectorised and `argmin` is not. So a row is viewed as a rectangle: first the minimum of each
    column, then the column with the least of those, then the place in that column.
    """
    N, K = scores.shape
    if scores.device.type != "cpu" or K % columns:
        return scores.argmin(1)
    rectangles = scores.view(N, K // columns, columns)
    column = rectangles.amin(1).float().argmin(1)
    inside = rectangles[torch.arange(N), :, column].float().argmin(1)
    return inside * columns + column


def codebook_sums(vectors: Tensor, codes: Tensor, K: int) -> tuple[Tensor, Tensor]:
    """How many of `vectors` [N, D] chose each code, [K], and their sum, [K, D]."""
    counts = torch.bincount(codes, minlength=K).to(vectors.dtype)
    sums = vectors.new_zeros(K, vectors.shape[1]).index_add_(0, codes, vectors)
    return counts, sums


def fsq_bound(z: Tensor, levels: tuple[int, ...]) -> Tensor:
    """`z` [B, len(levels), ...] squashed so that rounding gives digits 0 .. levels - 1.

    FSQ (arXiv 2309.15505), section 3.1, without its shift of even counts.
    """
    top = _along(levels, z) - 1
    return (torch.tanh(z) + 1) * 0.5 * (top + 0.998) - 0.499


def fsq_vector(digits: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Digits [B, len(levels), ...] as what the decoder sees: evenly spaced in [-1, 1]."""
    return digits * (2 / (_along(levels, digits) - 1)) - 1


def fsq_index(digits: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Code int64 [B, ...] of whole digits [B, len(levels), ...], least significant first."""
    return (digits.long() * _places(levels, digits)).sum(1)


def fsq_digits(codes: Tensor, levels: tuple[int, ...]) -> Tensor:
    """Float digits [B, len(levels), ...] of `codes` [B, ...]: inverse of `fsq_index`."""
    spread = codes.unsqueeze(1)
    shape = (1, -1) + (1,) * (codes.ndim - 1)
    places = _places(levels, spread)
    return ((spread // places) % torch.tensor(levels, device=codes.device).view(shape)).float()


def code_usage(codes: Tensor, K: int) -> tuple[float, float]:
    """Share of the K codes that occur in `codes`, and the perplexity exp(entropy) of their histogram (1 .. K)."""
    counts = torch.bincount(codes.flatten(), minlength=K).double()
    p = counts / counts.sum()
    entropy = -(p * p.clamp(min=1e-300).log()).sum()
    return float((counts > 0).double().mean()), float(entropy.exp())


def _along(levels: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor(levels, dtype=like.dtype, device=like.device).view(1, -1, *[1] * (like.ndim - 2))


def _places(levels: tuple[int, ...], like: Tensor) -> Tensor:
    places = torch.tensor(list(accumulate((1, *levels[:-1]), mul)), device=like.device)
    return places.view(1, -1, *[1] * (like.ndim - 2))

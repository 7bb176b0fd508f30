"""Sampling tokens: temperature, top-k, top-p, classifier-free guidance; and a picture's own random numbers.

Every function works row by row: no row's result depends on another row. Shapes: S rows, K codes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

WORD = 2**64
FEW = 512  # largest k for which topk is faster on a CPU than sorting whole rows


def uniforms(seed: int, candidate: int, count: int, stage: int = -1) -> Tensor:
    """float32 [count] in [0, 1): the randomness of one picture, number p for position p.

    A function of (seed, candidate, stage, position) alone, the same on every machine: Philox (Salmon et al. 2011), a
    counter cipher keyed by seed and candidate, its counter set by the stage where there is more than one; 24 bits a
    number, as many as float32 holds.
    """
    key = np.array([seed % WORD, candidate % WORD], dtype=np.uint64)
    words = np.random.Philox(counter=[0, 0, 0, stage + 1], key=key).random_raw(count)
    return torch.from_numpy((words >> np.uint64(40)).astype(np.float32)) * 2.0**-24


def normals(seed: int, candidate: int, stage: int, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """An endless stream of standard normal float32 tensors: the noise of one picture in one stage of a cascade.

    A function of (seed, candidate, stage) alone, the same on every machine: Philox again, its counter set by the stage.
    """
    key = np.array([seed % WORD, candidate % WORD], dtype=np.uint64)
    rng = np.random.Generator(np.random.Philox(counter=[0, 0, 0, stage + 1], key=key))
    while True:
        yield torch.from_numpy(rng.standard_normal(shape, np.float32))


def guide(conditional_SK: Tensor, unconditional_SK: Tensor, scale_S: Tensor) -> Tensor:
    """Classifier-free guidance of logits, u + s (c - u) (Ho and Salimans 2022); exactly c where s = 1."""
    s = scale_S[:, None]
    return torch.where(s == 1, conditional_SK, torch.lerp(unconditional_SK, conditional_SK, s))


def _descending(x_SK: Tensor) -> Tensor:
    """Every row sorted, largest first. NumPy's sort of floats is an order of magnitude faster than torch's on a CPU."""
    if x_SK.device.type != "cpu":
        return x_SK.sort(descending=True).values
    return torch.from_numpy(-np.sort(-x_SK.numpy(), axis=1))


def _place_of(x_SK: Tensor, place_S: Tensor) -> Tensor:
    """[S, 1]: the value at the given place of every row in descending order (place 0: the largest).

    On a CPU only as many as needed are sorted, several times as fast; on a GPU finding out how many would synchronise.
    """
    if x_SK.device.type != "cpu":
        return _descending(x_SK).gather(1, place_S[:, None])
    furthest = int(place_S.max()) + 1
    ordered = x_SK.topk(furthest).values if furthest <= FEW else _descending(x_SK)
    return ordered.gather(1, place_S[:, None])


def keep_top_k(logits_SK: Tensor, k_S: Tensor) -> Tensor:
    """Logits below the k-th largest of their row become -inf; ties with it stay; k = 0 or k >= K keeps all."""
    least = _place_of(logits_SK, k_S.clamp(1, logits_SK.shape[1]) - 1)
    return logits_SK.masked_fill((logits_SK < least) & (k_S > 0)[:, None], -torch.inf)


def keep_top_p(logits_SK: Tensor, p_S: Tensor) -> Tensor:
    """The fewest likeliest codes whose probabilities reach p stay, with their ties; the rest become -inf.

    At least one stays; p >= 1 keeps all (nucleus sampling, Holtzman et al. 2020).
    """
    ordered = _descending(logits_SK)
    mass = ordered.softmax(1).cumsum(1)
    last = (mass < p_S[:, None]).sum(1, keepdim=True).clamp(max=logits_SK.shape[1] - 1)
    least = ordered.gather(1, last)
    return logits_SK.masked_fill((logits_SK < least) & (p_S < 1)[:, None], -torch.inf)


def draw(logits_SK: Tensor, uniform_S: Tensor) -> Tensor:
    """int64 [S]: the code at which a row's cumulative probability first exceeds its uniform number.

    A code of probability zero is never drawn.
    """
    mass = logits_SK.float().softmax(1).cumsum(1)
    total = mass[:, -1:].contiguous()
    code = torch.searchsorted(mass, uniform_S[:, None] * total, right=True)
    last = torch.searchsorted(mass, total)  # the last code that has any probability
    return torch.minimum(code, last)[:, 0]


def sample(
    logits_SK: Tensor,
    uniform_S: Tensor,
    temperature_S: Tensor,
    top_k_S: Tensor | None = None,
    top_p_S: Tensor | None = None,
    greedy: bool = True,
) -> Tensor:
    """int64 [S], one code a row. Temperature 0 takes the likeliest code, the first among equals.

    `top_k_S` (0: all) and `top_p_S` (1: all) may be None where no row asks for them, and `greedy` False where no
    temperature is 0: that saves sorting and searching, and other rows come out the same either way.
    """
    logits_SK = logits_SK.float()
    scaled = logits_SK / temperature_S.clamp(min=1e-6)[:, None]
    if top_k_S is not None:
        scaled = keep_top_k(scaled, top_k_S)
    if top_p_S is not None:
        scaled = keep_top_p(scaled, top_p_S)
    code = draw(scaled, uniform_S)
    return torch.where(temperature_S > 0, code, logits_SK.argmax(1)) if greedy else code

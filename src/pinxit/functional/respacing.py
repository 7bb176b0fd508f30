"""Fewer steps than a discrete schedule was trained with: which of its T timesteps are kept, and their sigmas.

Improved DDPM (arXiv 2102.09672), section 4, in the notation of its released code: "a,b,c" or "ddimN". The network
always sees the original timestep numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor

from pinxit.errors import UsageError

# Published lists: GLIDE's fast27 and those that DeepFloyd IF was tuned with (super*: its 1024 px stage).
NAMED = {
    "fast27": "10,10,3,2,2",
    "smart27": "7,4,2,1,2,4,7",
    "smart50": "10,6,4,3,2,2,3,4,6,10",
    "smart100": "1,1,1,1,2,2,2,2,2,2,3,3,4,4,5,5,6,7,7,8,9,10,13",
    "smart185": "1,1,2,2,2,3,3,3,4,5,6,7,8,9,10,11,12,13,14,15,16,18,20",
    "super27": "1,1,1,1,1,1,1,2,5,13",
    "super40": "2,2,2,2,2,2,3,4,6,15",
    "super100": "4,4,6,6,8,8,10,10,14,30",
}


def kept_timesteps(spacing: str, T: int) -> list[int]:
    """The timesteps that stay, ascending, out of 0 .. T - 1.

    `spacing`: "a,b,c" cuts the schedule into equal sections (clean first) and keeps a, b and c evenly spaced timesteps
    of them, both ends included; "ddimN" keeps N by one whole stride from 0; or a name of `NAMED`. Raises UsageError for
    anything else, and for more steps than there are.
    """
    spacing = NAMED.get(spacing, spacing).strip()
    if spacing.startswith("ddim"):
        return _strided(_number(spacing.removeprefix("ddim"), spacing), T)
    counts = [_number(part, spacing) for part in spacing.split(",")]
    kept: list[int] = []
    start = 0
    for i, count in enumerate(counts):
        size = T // len(counts) + int(i < T % len(counts))
        if count > size:
            raise UsageError(
                f"Spacing '{spacing}' keeps {count} of {size} timesteps in section {i + 1}; ask for fewer."
            )
        stride = (size - 1) / (count - 1) if count > 1 else 0.0
        places = itertools.accumulate([0.0] + [stride] * (count - 1))  # not stride * k: halves round as published
        kept += [start + round(place) for place in places]
        start += size
    return kept


def descending_sigmas(sigma_T: Tensor, kept: Sequence[int], last: float = 0.0) -> list[float]:
    """The sigmas for a sampler: those of the kept (ascending) timesteps from the noisiest on, then `last`."""
    return [*sigma_T.double()[list(kept)].flip(0).tolist(), last]


def nearest_timestep(sigma_T: Tensor, sigma_B: Tensor) -> Tensor:
    """The timesteps whose sigmas are nearest in log-SNR, int64 [B]; exactly t for sigma_T[t], and 0 for 0."""
    return (sigma_T.double().log() - sigma_B.double().log()[:, None]).abs().argmin(1)


def _strided(steps: int, T: int) -> list[int]:
    for stride in range(1, T + 1):
        if -(-T // stride) == steps:
            return list(range(0, T, stride))
    raise UsageError(f"No whole stride keeps exactly {steps} of {T} timesteps; choose a divisor of {T}.")


def _number(text: str, spacing: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        form = "counts such as '10,10,3,2,2', 'ddim25', or one of " + ", ".join(NAMED)
        raise UsageError(f"Spacing '{spacing}' is not understood; it is {form}.")
    return int(text)

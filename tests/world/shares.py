"""How much of a picture has a colour, by the name that a person would give it."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pinxit.world.draw.palette import nearest

_named = cache(nearest)


def share(pixels: NDArray[np.uint8], colour: str) -> float:
    """The fraction of these RGB pixels [..., 3] whose nearest colour term is `colour`."""
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    named = [_named((r, g, b)) == colour for r, g, b in found.tolist()]
    return float(counts[named].sum() / counts.sum())

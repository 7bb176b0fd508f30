"""Masks drawn by users: black-and-white pictures. White means "paint here" (`types.Mask`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pinxit.data.problems import ItemError
from pinxit.types import Mask

if TYPE_CHECKING:
    from pinxit.types import Picture

GREYS = (64, 192)  # levels that are neither black nor white
MOST_GREY = 0.05  # the largest share of grey pixels in a mask, as soft edges have some


def mask_in(picture: Picture, name: str) -> Mask:
    """The mask that a picture is; it was read over white, so transparent pixels count as white.

    Raises ItemError with the file's `name` when it has colours or greys.
    """
    grey = (picture > GREYS[0]) & (picture < GREYS[1])
    if grey.any(2).mean() > MOST_GREY or np.ptp(picture, axis=2).max() > GREYS[1] - GREYS[0]:
        raise ItemError(name, "is no mask: draw one in black and white, white where to paint")
    return Mask.of(picture)

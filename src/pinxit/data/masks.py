"""Masks drawn by users: black-and-white pictures. White means "paint here" (`types.Mask`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pinxit.data.decode import read_picture
from pinxit.data.problems import ItemError
from pinxit.types import Mask

GREYS = (64, 192)  # levels that are neither black nor white
MOST_GREY = 0.05  # the largest share of grey pixels in a mask, as soft edges have some


def read_mask(path: Path) -> Mask:
    """The mask in a file; transparent pixels count as white.

    Raises ItemError when it cannot be read, or is a picture with colours or greys rather than a mask.
    """
    picture = read_picture(path)
    grey = (picture > GREYS[0]) & (picture < GREYS[1])
    if grey.any(2).mean() > MOST_GREY or np.ptp(picture, axis=2).max() > GREYS[1] - GREYS[0]:
        raise ItemError(str(path), "is no mask: draw one in black and white, white where to paint")
    return Mask.of(picture)

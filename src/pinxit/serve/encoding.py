"""Picture files as the server answers with them: their media types, and their sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pinxit.types import Picture

MEDIA_TYPES: dict[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def resize_square(picture: Picture, side: int) -> Picture:
    """A square picture at `side` pixels; unchanged if it has that size."""
    if picture.shape[0] == side:
        return picture
    result: Picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
    return result

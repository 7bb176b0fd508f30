"""Pictures as files that tell how they were made: PNG as `pinxit paint` writes it, JPEG and WebP with it in EXIF."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from pinxit.files import to_json
from pinxit.pictures import png_bytes

if TYPE_CHECKING:
    from pinxit.types import Picture

Format = Literal["png", "jpeg", "webp"]
DESCRIPTION = 0x010E  # of EXIF
TYPES: dict[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def encoded(picture: Picture, facts: Mapping[str, Any], form: Format = "png", compression: int = 100) -> bytes:
    """The file of a picture. `compression`: of JPEG and WebP, from 0 (smallest) to 100."""
    if form == "png":
        return png_bytes(picture, facts)
    exif, found = Image.Exif(), io.BytesIO()
    exif[DESCRIPTION] = to_json(facts)
    Image.fromarray(picture).save(found, format=form, quality=max(1, compression), exif=exif)
    return found.getvalue()


def resampled(picture: Picture, side: int) -> Picture:
    """A square picture at `side` pixels: itself where it has them."""
    if picture.shape[0] == side:
        return picture
    found: Picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
    return found

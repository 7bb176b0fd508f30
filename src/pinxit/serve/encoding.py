"""Picture files with generation metadata: PNG as `pinxit paint` writes it; JPEG and WebP with EXIF."""

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
DESCRIPTION = 0x010E  # the EXIF tag ImageDescription
MEDIA_TYPES: dict[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def encode_picture(
    picture: Picture, metadata: Mapping[str, Any], form: Format = "png", compression: int = 100
) -> bytes:
    """The file of a picture. `compression`: quality of JPEG and WebP, from 0 (smallest) to 100."""
    if form == "png":
        return png_bytes(picture, metadata)
    exif, result = Image.Exif(), io.BytesIO()
    exif[DESCRIPTION] = to_json(metadata)
    Image.fromarray(picture).save(result, format=form, quality=max(1, compression), exif=exif)
    return result.getvalue()


def resize_square(picture: Picture, side: int) -> Picture:
    """A square picture at `side` pixels; unchanged if it has that size."""
    if picture.shape[0] == side:
        return picture
    result: Picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
    return result

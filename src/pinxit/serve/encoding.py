"""Picture files with generation metadata: PNG as `pinxit paint` writes it; JPEG and WebP with EXIF."""

from __future__ import annotations

import io
import sys
from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from pinxit.files import to_json
from pinxit.pictures import png_bytes

if TYPE_CHECKING:
    from pinxit.types import Picture

Format = Literal["png", "jpeg", "webp"]
DESCRIPTION = 0x010E  # the EXIF tag ImageDescription: UTF-8, as EXIF 3 allows and most programs read it
MAX_DESCRIPTION = {"jpeg": 65_000}  # bytes: all EXIF of a JPEG, with its headers, has at most 65,533
MEDIA_TYPES: dict[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def encode_picture(
    picture: Picture, metadata: Mapping[str, Any], form: Format = "png", compression: int = 100
) -> bytes:
    """The file of a picture. `compression`: quality of JPEG and WebP, from 0 (smallest) to 100."""
    if form == "png":
        return png_bytes(picture, metadata)
    exif, result = Image.Exif(), io.BytesIO()
    exif[DESCRIPTION] = _description(metadata, MAX_DESCRIPTION.get(form, sys.maxsize))  # bytes: text would be ASCII
    Image.fromarray(picture).save(result, format=form, quality=max(1, compression), exif=exif)
    return result.getvalue()


def _description(metadata: Mapping[str, Any], most: int) -> bytes:
    """The metadata as JSON. Above `most` bytes the end of the prompt is left out, and an ellipsis stands for it."""
    whole = to_json(metadata).encode()
    if len(whole) <= most:
        return whole
    prompt = str(metadata.get("prompt", ""))

    def with_first(count: int) -> bytes:
        return to_json({**metadata, "prompt": f"{prompt[:count]}…"}).encode()

    fitting = bisect_right(range(len(prompt)), most, key=lambda count: len(with_first(count)))
    return with_first(max(0, fitting - 1))


def resize_square(picture: Picture, side: int) -> Picture:
    """A square picture at `side` pixels; unchanged if it has that size."""
    if picture.shape[0] == side:
        return picture
    result: Picture = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
    return result

"""Pictures on disk: PNG, JPEG and WebP files that carry metadata on how they were made."""

from __future__ import annotations

import io
import sys
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pinxit.errors import DataError, UsageError
from pinxit.files import parse_json, to_json, write_bytes
from pinxit.types import check_pixels

if TYPE_CHECKING:
    from pinxit.types import Picture

Format = Literal["png", "jpeg", "webp"]
METADATA_KEY = "pinxit"
ENDINGS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
DESCRIPTION = 0x010E  # the EXIF tag ImageDescription: UTF-8, as EXIF 3 allows and most programs read it
MAX_DESCRIPTION = {"jpeg": 65_000, "webp": sys.maxsize}  # bytes: all EXIF of a JPEG has at most 65,533
MAX_SIDE = {"jpeg": 65_500, "webp": 16_383}  # pixels


def png_bytes(picture: Picture, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A PNG file of `picture`; `metadata` goes into an international text chunk named "pinxit" as JSON.

    Raises UsageError for what is no picture, and for metadata that JSON cannot hold.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    check_pixels(picture)
    info, found = PngInfo(), io.BytesIO()
    if metadata is not None:
        info.add_itxt(METADATA_KEY, to_json(metadata))
    Image.fromarray(picture).save(found, format="png", pnginfo=info)
    return found.getvalue()


def write_png(path: str | Path, picture: Picture, metadata: Mapping[str, Any] | None = None) -> None:
    """Write `picture` atomically, as `png_bytes` makes it, whose errors it raises.

    Raises PinxitError when the file cannot be written.
    """
    write_bytes(Path(path), png_bytes(picture, metadata))


def encode_picture(
    picture: Picture, metadata: Mapping[str, Any] | None, form: Format = "png", compression: int = 100
) -> bytes:
    """The file of a picture. `compression`: quality of JPEG and WebP, from 0 (smallest) to 100.

    PNG holds the metadata as `png_bytes` says; JPEG and WebP as the EXIF tag ImageDescription, for which those of a
    JPEG may be too long. Raises UsageError as `png_bytes` does, and for more pixels a side than the format has.
    """
    from PIL import Image

    if form == "png":
        return png_bytes(picture, metadata)
    check_pixels(picture)
    if max(picture.shape[:2]) > MAX_SIDE[form]:
        width, height = picture.shape[1], picture.shape[0]
        raise UsageError(f"a picture of {width}x{height} pixels is too large for {form}: write a png.")
    exif, result = Image.Exif(), io.BytesIO()
    told = b"" if metadata is None else _description(metadata, MAX_DESCRIPTION[form])
    if told and len(told) <= MAX_DESCRIPTION[form]:  # longer where no prompt could be shortened
        exif[DESCRIPTION] = told  # bytes: text would be ASCII
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


def check_picture(*paths: Path | None) -> None:
    """Raise UsageError for a path whose ending names no format that pictures are written in."""
    for path in paths:
        if path is not None and path.suffix.lower() not in ENDINGS:
            raise UsageError(f"{path} names no format of pictures: let it end in .png, .jpg or .webp.")


def write_picture(path: str | Path, picture: Picture, metadata: Mapping[str, Any] | None = None) -> None:
    """Write `picture` atomically in the format that `path` ends in. Raises what `check_picture` and `write_png` do."""
    path = Path(path)
    check_picture(path)
    write_bytes(path, encode_picture(picture, metadata, ENDINGS[path.suffix.lower()]))


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata that `write_png` stored in a PNG file; empty for other pictures.

    Raises DataError for a file that is no picture or cannot be read, and for metadata that are no JSON object.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            text = image.info.get(METADATA_KEY)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not a picture of a known format.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    return parse_json(text, dict[str, Any], f"{path}: its metadata") if text else {}

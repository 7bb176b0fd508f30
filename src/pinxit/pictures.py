"""Pictures on disk: PNG files that carry metadata on how they were made."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.files import parse_json, to_json, write_bytes

if TYPE_CHECKING:
    from pinxit.types import Picture

METADATA_KEY = "pinxit"


def png_bytes(picture: Picture, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A PNG file of `picture`; `metadata` goes into an international text chunk named "pinxit" as JSON."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info, found = PngInfo(), io.BytesIO()
    if metadata is not None:
        info.add_itxt(METADATA_KEY, to_json(metadata))
    Image.fromarray(picture).save(found, format="png", pnginfo=info)
    return found.getvalue()


def write_png(path: Path, picture: Picture, metadata: Mapping[str, Any] | None = None) -> None:
    """Write `picture` atomically, as `png_bytes` makes it. Raises PinxitError when the file cannot be written."""
    write_bytes(path, png_bytes(picture, metadata))


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `write_png` stored in the file; empty for other PNG files."""
    from PIL import Image

    with Image.open(path) as image:
        text = image.info.get(METADATA_KEY)
    return parse_json(text, dict[str, Any], f"{path}: its metadata") if text else {}

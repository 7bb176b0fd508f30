"""Pictures on disk: PNG files that carry what made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.files import replacing

if TYPE_CHECKING:
    from pinxit.types import Picture

METADATA_KEY = "pinxit"


def write_png(path: Path, picture: Picture, metadata: Mapping[str, Any] | None = None) -> None:
    """Write `picture` atomically; `metadata` goes into an international text chunk named "pinxit" as JSON.

    Raises PinxitError when the file cannot be written.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if metadata is not None:
        info.add_itxt(METADATA_KEY, json.dumps(metadata, ensure_ascii=False))
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="png", pnginfo=info)


def read_metadata(path: Path) -> dict[str, Any]:
    """What `write_png` stored in the file; empty for a picture of another origin."""
    from PIL import Image

    with Image.open(path) as image:
        text = image.info.get(METADATA_KEY)
    result: dict[str, Any] = json.loads(text) if text else {}
    return result

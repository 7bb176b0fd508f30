"""Turn one artist's drawing of an emoji into a tightly cropped sprite, cached as a WebP file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cairosvg
from PIL import Image
from scripts.sprites.things import code_of

from pinxit.files import write_bytes

SIDE = 112  # pixels on a sprite's longest side
RENDER = 448  # pixels an SVG is drawn at before it is cropped and reduced
EMPTY = 12  # alpha up to this counts as empty when cropping
QUALITY = 85

Drawings = Callable[[str], Image.Image | None]
"""From code points to one artist's picture, or None where the artist has not drawn it."""


def sprite(drawings: Drawings, code: str, cache: Path) -> bytes | None:
    """The sprite as WebP bytes; drawn once, then read from `cache`. None when the artist has not drawn it."""
    path = cache / f"{code}-{SIDE}-{QUALITY}.webp"
    if path.exists():
        return path.read_bytes()
    picture = drawings(code)
    if picture is None:
        return None
    write_bytes(path, encode(crop(picture)))
    return path.read_bytes()


def crop(picture: Image.Image) -> Image.Image:
    """Without empty borders, longest side SIDE; Pillow reduces RGBA with premultiplied alpha."""
    box = picture.getchannel("A").point(lambda alpha: 255 * (alpha > EMPTY)).getbbox()
    if box is None:
        raise ValueError("a drawing is empty")
    width, height = box[2] - box[0], box[3] - box[1]
    scale = SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS, box=box)


def encode(picture: Image.Image) -> bytes:
    """Lossy colour, lossless alpha."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, alpha_quality=100, method=6)
    return buffer.getvalue()


def iconify(package: Path, names: Path) -> Drawings:
    """Drawings of an Iconify set; `names` is the chars.json that maps code points to icon names."""
    icons: dict[str, Any] = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    chars = {code_of(code): name for code, name in json.loads(names.read_text(encoding="utf-8")).items()}

    def draw(code: str) -> Image.Image | None:
        name = chars.get(code, "")
        name = icons.get("aliases", {}).get(name, {"parent": name})["parent"]
        icon = icons["icons"].get(name)
        if icon is None:
            return None
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
        )
        png = cairosvg.svg2png(svg.encode(), output_width=RENDER, output_height=round(RENDER * height / width))
        return Image.open(io.BytesIO(png)).convert("RGBA")

    return draw


def webp_folder(package: Path) -> Drawings:
    """Drawings stored as assets/CODE.webp."""
    files = {code_of(path.stem): path for path in (package / "assets").glob("*.webp")}

    def draw(code: str) -> Image.Image | None:
        return Image.open(files[code]).convert("RGBA") if code in files else None

    return draw

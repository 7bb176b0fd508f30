"""A sprite as it is, dressed, made of another or cut open, as a layer of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from pinxit.world.draw.cuts import cut_open
from pinxit.world.draw.made_of import made_of
from pinxit.world.draw.outfits import Outfit, dressed
from pinxit.world.draw.palette import RGB
from pinxit.world.draw.pen import Frame, Layer
from pinxit.world.draw.sprites import raster, tinted

_MARGIN = 4  # the transparent border is 1/_MARGIN of the sprite on each side: more than a pixel at every legible size


@dataclass(frozen=True, slots=True)
class SpriteVariant:
    """A sprite and how it is changed: by at most one of `outfit`, `material` and `opened`."""

    name: str
    artist: str | None
    outfit: Outfit = ()
    material: str | None = None
    opened: bool = False  # a cross-section


def cutout(variant: SpriteVariant) -> Image.Image:
    """The sprite with this change: RGBA, cropped to what is visible."""
    if variant.outfit:
        return dressed(variant.name, variant.artist, variant.outfit)
    if variant.material:
        return made_of(variant.name, variant.artist, variant.material)
    return (cut_open if variant.opened else raster)(variant.name, variant.artist)


@lru_cache(maxsize=256)
def _source(variant: SpriteVariant) -> tuple[Image.Image, tuple[int, int]]:
    """The cutout with premultiplied alpha and a transparent border of 1/_MARGIN of its size on each side; its size
    without the border."""
    image = cutout(variant)
    left, top = image.width // _MARGIN, image.height // _MARGIN
    padded = Image.new("RGBA", (image.width + 2 * left, image.height + 2 * top))
    padded.paste(image, (left, top))
    return padded.convert("RGBa"), image.size


def sprite_layer(frame: Frame, variant: SpriteVariant, flip: bool = False, colour: RGB | None = None) -> Layer:
    """The sprite stretched over the frame's box; with `colour`, repainted in tones of that colour."""
    source, size = _source(variant)
    x0, y0, x1, y1 = frame.region
    if flip:  # mirrored before and after: the sprite is kept one way round
        x0, x1 = frame.width * frame.over - x1, frame.width * frame.over - x0
    across, down = size[0] / (x1 - x0), size[1] / (y1 - y0)  # sprite pixels per sample
    left, top = size[0] // _MARGIN - x0 * across, size[1] // _MARGIN - y0 * down
    right = left + frame.width * frame.over * across
    bottom = top + frame.height * frame.over * down
    box = (max(left, 0.0), max(top, 0.0), min(right, source.width), min(bottom, source.height))
    pixels = source.resize((frame.width, frame.height), Image.Resampling.BICUBIC, box=box).convert("RGBA")
    if flip:
        pixels = pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return Layer(tinted(pixels, colour) if colour else pixels, frame.x, frame.y)

"""Sprites of the pack as layers, silhouettes and tinted pictures."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageOps

from pinxit.data.world.draw.palette import RGB, ramp
from pinxit.data.world.draw.pen import Frame, Layer
from pinxit.data.world.pack import Pack

_MARGIN = 4  # the transparent border is 1/_MARGIN of the sprite on each side: more than a pixel at every legible size


@lru_cache(maxsize=256)
def raster(name: str, artist: str | None) -> Image.Image:
    """The sprite as an RGBA image, cropped to what is visible. `artist` None takes the pack's first."""
    pack = Pack.open()
    drawn = artist or (pack.things[name].artists[0] if name in pack.things else "")
    image = Image.fromarray(pack.sprite(name, drawn))
    return image.crop(image.getchannel("A").point(lambda a: 255 * (a >= 32)).getbbox())


def sprite_aspect(name: str, artist: str | None) -> float:
    """Width over height of the visible part."""
    width, height = raster(name, artist).size
    return width / height


@lru_cache(maxsize=64)
def silhouette(name: str, artist: str | None = None) -> Image.Image:
    """The sprite's outline as an L mask, its holes filled."""
    solid = raster(name, artist).getchannel("A").point(lambda a: 255 * (a >= 128))
    framed = ImageOps.expand(solid, border=1, fill=0)
    outside = framed.copy()
    _flood(outside)
    filled = outside.point(lambda a: 255 * (a != 128))
    return filled.crop((1, 1, framed.width - 1, framed.height - 1))


def _flood(mask: Image.Image) -> None:
    """Paint what is connected with the corner of `mask` 128."""
    outside = np.zeros((mask.height, mask.width), bool)
    free = np.asarray(mask) == 0
    outside[0, 0] = True
    while True:
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= free
        if (grown == outside).all():
            break
        outside = grown
    mask.paste(128, mask=Image.fromarray(outside))


@lru_cache(maxsize=256)
def _source(name: str, artist: str | None, flip: bool) -> Image.Image:
    """The sprite with premultiplied alpha and a transparent border of 1/_MARGIN of its size on each side."""
    image = raster(name, artist)
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = image.width // _MARGIN, image.height // _MARGIN
    padded = Image.new("RGBA", (image.width + 2 * left, image.height + 2 * top))
    padded.paste(image, (left, top))
    return padded.convert("RGBa")


def sprite_layer(frame: Frame, name: str, artist: str | None, flip: bool, colour: RGB | None) -> Layer:
    """The sprite stretched over the frame's box; with `colour`, repainted in tones of that colour."""
    source = _source(name, artist, flip)
    size = raster(name, artist).size
    x0, y0, x1, y1 = frame.region
    across, down = size[0] / (x1 - x0), size[1] / (y1 - y0)  # sprite pixels per sample
    left, top = size[0] // _MARGIN - x0 * across, size[1] // _MARGIN - y0 * down
    right = left + frame.width * frame.over * across
    bottom = top + frame.height * frame.over * down
    box = (max(left, 0.0), max(top, 0.0), min(right, source.width), min(bottom, source.height))
    pixels = source.resize((frame.width, frame.height), Image.Resampling.HAMMING, box=box).convert("RGBA")
    return Layer(tinted(pixels, colour) if colour else pixels, frame.x, frame.y)


def tinted(image: Image.Image, colour: RGB) -> Image.Image:
    """The RGBA picture in tones of one colour: its middle grey becomes that colour."""
    alpha = image.getchannel("A")
    grey = ImageOps.autocontrast(image.convert("L"), cutoff=2, mask=alpha.point(lambda a: 255 * (a >= 128)))
    tones = [ramp(colour, 0.15 + 0.75 * v / 255) for v in range(256)]
    bands = [grey.point([tone[band] for tone in tones]) for band in range(3)]
    return Image.merge("RGBA", (*bands, alpha))

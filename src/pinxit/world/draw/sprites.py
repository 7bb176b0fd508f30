"""Sprites of the pack as images and silhouettes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageOps

from pinxit.world.draw.palette import RGB, ramp
from pinxit.world.pack import Pack


@lru_cache(maxsize=256)
def raster(name: str, artist: str | None) -> Image.Image:
    """The sprite as an RGBA image, cropped to what is visible. `artist` None takes the pack's first."""
    pack = Pack.open()
    drawn = artist or (pack.things[name].artists[0] if name in pack.things else "")
    return cropped(Image.fromarray(pack.sprite(name, drawn)))


def cropped(image: Image.Image) -> Image.Image:
    """What is visible of an RGBA image, without the transparent border."""
    return image.crop(image.getchannel("A").point(lambda a: 255 * (a >= 32)).getbbox())


def sprite_aspect(name: str, artist: str | None) -> float:
    """Width over height of the visible part."""
    width, height = raster(name, artist).size
    return width / height


@lru_cache(maxsize=256)
def mean_colour(name: str, artist: str | None = None) -> RGB:
    """The mean colour of what is opaque in the sprite."""
    pixels = np.asarray(raster(name, artist)).astype(np.int64)
    weight = pixels[..., 3]
    red, green, blue = (int((pixels[..., band] * weight).sum() // weight.sum()) for band in range(3))
    return red, green, blue


@lru_cache(maxsize=256)
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


def tinted(image: Image.Image, colour: RGB) -> Image.Image:
    """The RGBA picture in tones of one colour: its middle grey becomes that colour."""
    alpha = image.getchannel("A")
    grey = ImageOps.autocontrast(image.convert("L"), cutoff=2, mask=alpha.point(lambda a: 255 * (a >= 128)))
    tones = [ramp(colour, 0.15 + 0.75 * v / 255) for v in range(256)]
    bands = [grey.point([tone[band] for tone in tones]) for band in range(3)]
    return Image.merge("RGBA", (*bands, alpha))

"""A sprite made of another: its outline in the other's colour, and in its largest disc the other's picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from pinxit.errors import DataError
from pinxit.world.draw.depth import depth, disc
from pinxit.world.draw.palette import RGB, mix
from pinxit.world.draw.pen import Pen
from pinxit.world.draw.sprites import mean_colour, raster, silhouette, tinted
from pinxit.world.pack import Pack

_FINE = 2  # the sprite is enlarged so many times before the other is set into it
_FILL = 1.0  # how much of the disc's diameter the other's diagonal may fill


@lru_cache(maxsize=256)
def made_of(name: str, artist: str | None, material: str) -> Image.Image:
    """A snail made of a harp: RGBA, of the same size as the snail. Raises DataError for an unknown material."""
    whole, other = raster(name, artist), raster(material, _hand(material, artist))
    size = (whole.width * _FINE, whole.height * _FINE)
    colour = material_colour(material, artist)
    image = tinted(whole.resize(size, Image.Resampling.BICUBIC), colour)
    x, y, radius = (_FINE * value for value in _belly(name, artist))
    pen = Pen(image, (round(x - radius), round(y - radius), round(x + radius), round(y + radius)), size[1] / 64)
    pen.ellipse(0, 0, 1, 1, mix(colour, (20, 16, 24), 0.55))
    pen.ellipse(0.05, 0.05, 0.95, 0.95, mix(colour, (255, 255, 255), 0.82))
    across, down = other.size
    reach = _FILL * radius / (across**2 + down**2) ** 0.5
    wide, high = round(2 * across * reach), round(2 * down * reach)
    inset = other.resize((wide, high), Image.Resampling.BICUBIC)
    image.alpha_composite(inset, (round(x - wide / 2), round(y - high / 2)))
    return image.reduce(_FINE)


@lru_cache(maxsize=256)
def _belly(name: str, artist: str | None) -> tuple[float, float, float]:
    """The largest disc inside the sprite: centre x, centre y, radius in its pixels."""
    return disc(depth(np.asarray(silhouette(name, artist)) >= 128))


def material_colour(material: str, artist: str | None) -> RGB:
    """The colour that a thing by `artist` has when it is made of `material`."""
    return mean_colour(material, _hand(material, artist))


def _hand(material: str, artist: str | None) -> str | None:
    """The same artist's drawing where there is one."""
    things = Pack.open().things
    if material not in things:
        raise DataError(f"nothing can be made of '{material}': the world has no such sprite.")
    return artist if artist in things[material].artists else None

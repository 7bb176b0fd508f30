"""A sprite, dressed or bare, as a layer of a picture."""

from __future__ import annotations

from functools import lru_cache

from PIL import Image, ImageOps

from pinxit.data.world.draw.outfits import Outfit, dressed
from pinxit.data.world.draw.palette import RGB, ramp
from pinxit.data.world.draw.pen import Frame, Layer
from pinxit.data.world.draw.sprites import raster

_MARGIN = 4  # the transparent border is 1/_MARGIN of the sprite on each side: more than a pixel at every legible size


def cutout(name: str, artist: str | None, outfit: Outfit) -> Image.Image:
    """The sprite with what it wears: RGBA, cropped to what is visible."""
    return dressed(name, artist, outfit) if outfit else raster(name, artist)


@lru_cache(maxsize=256)
def _source(name: str, artist: str | None, outfit: Outfit) -> Image.Image:
    """The cutout with premultiplied alpha and a transparent border of 1/_MARGIN of its size on each side."""
    image = cutout(name, artist, outfit)
    left, top = image.width // _MARGIN, image.height // _MARGIN
    padded = Image.new("RGBA", (image.width + 2 * left, image.height + 2 * top))
    padded.paste(image, (left, top))
    return padded.convert("RGBa")


def sprite_layer(
    frame: Frame, name: str, artist: str | None, outfit: Outfit = (), flip: bool = False, colour: RGB | None = None
) -> Layer:
    """The sprite stretched over the frame's box; with `colour`, repainted in tones of that colour."""
    source = _source(name, artist, outfit)
    size = cutout(name, artist, outfit).size
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


def tinted(image: Image.Image, colour: RGB) -> Image.Image:
    """The RGBA picture in tones of one colour: its middle grey becomes that colour."""
    alpha = image.getchannel("A")
    grey = ImageOps.autocontrast(image.convert("L"), cutoff=2, mask=alpha.point(lambda a: 255 * (a >= 128)))
    tones = [ramp(colour, 0.15 + 0.75 * v / 255) for v in range(256)]
    bands = [grey.point([tone[band] for tone in tones]) for band in range(3)]
    return Image.merge("RGBA", (*bands, alpha))

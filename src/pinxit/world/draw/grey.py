"""Integer greyscale images and the filters that styles need. Integers give the same result on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pinxit.world.draw.noise import field
from pinxit.world.draw.palette import RGB

Grey = NDArray[np.int32]
"""int32 [height, width], mostly 0..255."""


def grey_of(picture: Image.Image) -> Grey:
    """The picture in greyscale."""
    return np.asarray(picture.convert("L")).astype(np.int32)


def picture_of(pixels: NDArray[np.int32]) -> Image.Image:
    """An image from int32 [height, width] or [height, width, 3], clipped to 0..255."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def stroke(width: int) -> int:
    """How many pixels thick a fine line is in a picture of `width` pixels."""
    return max(1, (width + 64) // 128)


def steps(values: Grey) -> Grey:
    """The larger of the absolute differences from the values one fine line's width to the right and below."""
    reach = stroke(values.shape[1])
    out = np.zeros_like(values)
    out[:, :-reach] = np.abs(values[:, reach:] - values[:, :-reach])
    np.maximum(out[:-reach], np.abs(values[reach:] - values[:-reach]), out=out[:-reach])
    return out


def lines(light: Grey, owner: Grey) -> tuple[NDArray[np.bool_], Grey]:
    """Where things end (bool), and how strongly the picture changes within things and within the ground, 0..255."""
    inner = np.clip(steps(light) - 8, 0, 60) * 4
    return steps(owner) > 0, inner


def clouded(seed: int, name: str, cells: int, height: int, width: int) -> Grey:
    """Soft noise 0..255 with `cells` blots across."""
    rows = max(2, cells * height // width)
    coarse = Image.fromarray(field(seed, name, rows, cells).astype(np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int32)


def between(low: RGB, high: RGB, share: Grey) -> NDArray[np.int32]:
    """Each pixel a mixture of two colours, `share` 0..255 of `high`: int32 [height, width, 3]."""
    a, b = np.array(low, np.int32), np.array(high, np.int32)
    mixed: NDArray[np.int32] = a + (b - a) * share[..., None] // 255
    return mixed

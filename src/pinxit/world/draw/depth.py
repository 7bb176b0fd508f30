"""How deep inside an outline a pixel lies: Euclidean distances, discs, outlines shrunk and grown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Mask = NDArray[np.bool_]


def depth(mask: Mask) -> NDArray[np.float32]:
    """Distance in pixels from each pixel to the nearest one outside, 0 outside: float32 [H, W]. Beyond the frame is
    outside. Exact (Felzenszwalb and Huttenlocher 2012: columns first, then the lower envelope of each row)."""
    inside = np.pad(mask, 1)
    height, width = inside.shape
    down = np.zeros((height, width), np.int32)
    for y in range(1, height):
        down[y] = (down[y - 1] + 1) * inside[y]
    for y in range(height - 2, -1, -1):
        np.minimum(down[y], (down[y + 1] + 1) * inside[y], out=down[y])
    square = down * down
    distances = square.copy()
    for step in range(1, int(down.max(initial=0)) + 1):
        np.minimum(distances[:, step:], square[:, :-step] + step * step, out=distances[:, step:])
        np.minimum(distances[:, :-step], square[:, step:] + step * step, out=distances[:, :-step])
    return np.sqrt(distances[1:-1, 1:-1].astype(np.float32))


def disc(depths: NDArray[np.float32]) -> tuple[float, float, float]:
    """The largest disc inside: centre x, centre y and radius in pixels."""
    y, x = np.unravel_index(int(depths.argmax()), depths.shape)
    return float(x) + 0.5, float(y) + 0.5, float(depths[y, x])


def opened(mask: Mask, steps: float) -> Mask:
    """Without what is thinner than twice `steps` pixels."""
    core: Mask = depth(mask) > steps
    kept: Mask = mask & (depth(np.pad(~core, int(steps) + 1, constant_values=True)) <= steps)[_inner(int(steps) + 1)]
    return kept


def _inner(rim: int) -> tuple[slice, slice]:
    return slice(rim, -rim), slice(rim, -rim)


def enlarged(depths: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    """Depths between the pixels: float32 [times * H, times * W], in the old pixels."""
    height, width = depths.shape
    picture = Image.fromarray(depths).resize((width * times, height * times), Image.Resampling.BILINEAR)
    grown: NDArray[np.float32] = np.asarray(picture)
    return grown


def within(depths: NDArray[np.float32], least: float) -> Image.Image:
    """An L mask of what lies deeper than `least`."""
    return Image.fromarray((depths > least).astype(np.uint8) * 255)

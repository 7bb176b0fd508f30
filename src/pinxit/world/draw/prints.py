"""Styles made of colour: watercolour, pixel art, silhouette, old photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pinxit.world.draw.grey import between, clouded, grey_of, picture_of, steps
from pinxit.world.draw.noise import field, uniforms
from pinxit.world.draw.palette import PAPER, RGB
from pinxit.world.draw.stage import VISIBLE, Stage

_BLOCKS = 32  # pixel art has so many blocks across


def watercolour(stage: Stage) -> Image.Image:
    """Wobbling washes with dark rims where the pigment gathers, on paper that shows at the border."""
    flat = stage.flat()
    width, height = flat.size
    unit = width / 64
    wet = _wobbled(np.asarray(flat), stage.seed, unit)
    washed = Image.fromarray(wet).filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.BoxBlur(0.25 * unit))
    pixels = np.asarray(washed).astype(np.int32)
    rim = np.clip(steps(grey_of(washed)) * 2, 0, 60)[..., None]
    blots = clouded(stage.seed, "blots", 9, height, width)[..., None] - 128
    grain = field(stage.seed, "grain", height, width)[..., None] - 128
    thin = pixels + (255 - pixels) * 46 // 255  # water lets the paper through
    painted = thin * (255 - rim) // 255 + blots * (290 - thin) // 1100 + grain // 20
    edge = _paper_edge(stage.seed, height, width, unit)[..., None]
    paper = np.array(PAPER, np.int32) + grain // 24
    return picture_of(painted + (paper - painted) * edge // 255)


def _wobbled(pixels: NDArray[np.uint8], seed: int, unit: float) -> NDArray[np.uint8]:
    """A smooth random warp: every pixel is taken from up to a point (1/64 of the picture) away."""
    height, width = pixels.shape[:2]
    rows, columns = np.indices((height, width))
    shift = [(clouded(seed, name, 14, height, width) - 128) * unit / 170 for name in ("down", "across")]
    rows = np.clip(np.rint(rows + shift[0]).astype(np.int64), 0, height - 1)
    columns = np.clip(np.rint(columns + shift[1]).astype(np.int64), 0, width - 1)
    wobbled: NDArray[np.uint8] = pixels[rows, columns]
    return wobbled


def _paper_edge(seed: int, height: int, width: int, unit: float) -> NDArray[np.int32]:
    """How much bare paper shows, 0..255: all at the border, with a ragged inner limit."""
    rows, columns = np.indices((height, width))
    inward = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    ragged = inward * 100 / unit + clouded(seed, "edge", 16, height, width) - 128
    return np.clip(250 - ragged * 2, 0, 255).astype(np.int32)


def pixel_art(stage: Stage) -> Image.Image:
    """Large square pixels of few colours, with dark outlines around things."""
    width, height = stage.size
    across, down = min(_BLOCKS, width), max(1, min(_BLOCKS, width) * height // width)
    small = np.asarray(stage.flat().resize((across, down), Image.Resampling.BOX)).astype(np.int32)
    few = (small * 5 + 128) // 255 * 51
    covered = np.zeros((down, across), np.int32)
    for number, alpha in enumerate(stage.alphas(), 1):
        seen = np.asarray(alpha.resize((across, down), Image.Resampling.BOX)) >= VISIBLE - 24
        covered[seen] = number
    ground = np.asarray(stage.ground.resize((across, down), Image.Resampling.BOX)).astype(np.int32)
    few = np.where((covered == 0)[..., None], (ground * 15 + 128) // 255 * 17, few)
    rim = _rim(covered)[..., None]
    few = np.where(rim, few * 9 // 20, few)
    return picture_of(few).resize((width, height), Image.Resampling.NEAREST)


def _rim(covered: NDArray[np.int32]) -> NDArray[np.bool_]:
    """The outermost blocks of every thing."""
    framed = np.pad(covered, 1)
    around = (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
    differs = np.zeros(covered.shape, bool)
    for other in around:
        differs |= other != covered
    rim: NDArray[np.bool_] = differs & (covered > 0)
    return rim


def silhouette(stage: Stage) -> Image.Image:
    """Things in black before a bright ground."""
    light = grey_of(stage.ground)
    picture = stage.ground
    if int(light.mean()) < 150:
        picture = Image.blend(picture, Image.new("RGB", picture.size, (255, 250, 240)), 0.7)
    else:
        picture = picture.copy()
    for layer in stage.layers:
        picture.paste(_BLACK, (layer.x, layer.y), layer.image.getchannel("A"))
    return picture


_BLACK: RGB = (18, 18, 22)


def old_photograph(stage: Stage) -> Image.Image:
    """Faded brown tones, darker corners, grain, a scratch or two, and a pale border."""
    flat = stage.flat()
    width, height = flat.size
    unit = width / 64
    light, owner = grey_of(flat.filter(ImageFilter.BoxBlur(0.2 * unit))), stage.owners()
    light = np.where(owner >= 0, light * 13 // 16, 110 + light * 145 // 255)  # the ground pales, things stay
    light -= np.where(steps(owner) > 0, 50, 0)
    rows, columns = np.indices((height, width))
    across, down = (2 * columns + 1 - width) / width, (2 * rows + 1 - height) / height
    corner = ((across * across + down * down) * 38).astype(np.int32)
    grain = field(stage.seed, "film", height, width) - 128
    tone = 20 + light * 220 // 255 - corner + grain // 16 + (clouded(stage.seed, "fade", 4, height, width) - 128) // 9
    for place, top, long in _scratches(stage.seed):
        x, y = int(place * (width - 1)), int(top * height)
        tone[y : y + int(long * height), x] += 46
    sepia = between((52, 34, 22), (246, 230, 196), np.clip(tone, 0, 255))
    inward = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    return picture_of(np.where((inward < 2 * unit)[..., None], np.array((240, 232, 214), np.int32), sepia))


def _scratches(seed: int) -> list[tuple[float, float, float]]:
    """Thin upright scratches: where across, from how far down, how long."""
    draws = uniforms(seed, "scratches", 7)
    count = 1 + int(2 * draws[6])
    return [(draws[3 * k], 0.7 * draws[3 * k + 1], 0.15 + 0.3 * draws[3 * k + 2]) for k in range(count)]

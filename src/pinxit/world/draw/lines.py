"""Styles made of lines: pencil sketch, blueprint, neon."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pinxit.world.draw.grey import Grey, between, grey_of, lines, picture_of, stroke
from pinxit.world.draw.noise import field
from pinxit.world.draw.palette import PAPER
from pinxit.world.draw.stage import Stage


def pencil(stage: Stage) -> Image.Image:
    """Grey lines where things end or change, diagonal hatching where they are dark, on grainy paper."""
    light, owner = grey_of(stage.flat()), stage.regions()
    outline, inner = lines(light, owner)
    thing = owner >= 0
    drawn = np.maximum(np.where(outline, 205, 0), np.where(thing, inner * 3 // 4, inner // 7))
    shade = np.where(thing, _hatching(255 - light), 0)
    grain = field(stage.seed, "pencil", *light.shape)
    ink = np.maximum(drawn, shade) * (190 + grain // 4) // 255
    return picture_of(between(PAPER, (0, 0, 0), np.clip(ink, 0, 215)))


def _hatching(dark: Grey) -> Grey:
    """Diagonal strokes that grow denser and stronger with darkness."""
    rows, columns = np.indices(dark.shape, dtype=np.int32)
    thick = stroke(dark.shape[1])
    along = (rows + columns) // thick % 3 == 0
    cross = (rows - columns) // thick % 4 == 0
    tone = np.clip(dark - 40, 0, 255) // 4
    return tone + np.where(along, tone, 0) + np.where(cross & (dark > 150), tone // 2, 0)


def blueprint(stage: Stage) -> Image.Image:
    """White lines on blue paper with a fine grid; things are filled a little lighter."""
    light, owner = grey_of(stage.flat()), stage.regions()
    outline, inner = lines(light, owner)
    thing = owner >= 0
    rows, columns = np.indices(light.shape)
    pitch = max(4, light.shape[1] // 8)
    thick = stroke(light.shape[1])
    grid = (rows % pitch < thick) | (columns % pitch < thick)
    paper = np.where(grid, 46, 0) + np.where(thing, 34 + light // 12, 0)
    outline[:, thick:] |= outline[:, :-thick]
    drawn = np.maximum(np.where(outline, 255, 0), np.where(thing, inner, inner // 7))
    return picture_of(between((24, 70, 150), (236, 244, 255), np.maximum(paper, drawn)))


def neon(stage: Stage) -> Image.Image:
    """Glowing tubes along the outlines, in the bright colours of what they outline, before a dark wall."""
    flat = stage.flat()
    light, owner = grey_of(flat), stage.regions()
    outline, inner = lines(light, owner)
    thing = owner >= 0
    tube = np.maximum(np.where(outline, 255, 0), np.where(thing & (inner > 110), 200, 0))
    coloured = _bright(np.asarray(_colours_at_edges(stage, flat)).astype(np.int32))
    lit = picture_of(coloured * tube[..., None] // 255)
    unit = light.shape[1] / 64
    near = np.asarray(lit.filter(ImageFilter.BoxBlur(0.7 * unit))).astype(np.int32)
    far = np.asarray(lit.filter(ImageFilter.BoxBlur(2.2 * unit))).astype(np.int32)
    core = np.where(tube[..., None] > 0, 90 + coloured * 2 // 3, 0)
    wall = between((16, 14, 26), (34, 30, 52), _bricks(light.shape))
    return picture_of(wall + core + near + far * 3 // 2)


def _colours_at_edges(stage: Stage, flat: Image.Image) -> Image.Image:
    """The picture with each thing's colours carried a little over its edge, so that outlines take them."""
    things = Image.new("RGB", stage.size)
    for layer in stage.layers:
        solid = layer.image.getchannel("A").point(lambda a: 255 * (a >= 128))
        things.paste(layer.image.convert("RGB"), (layer.x, layer.y), solid)
    return things.filter(ImageFilter.MaxFilter(2 * stroke(stage.size[0]) + 1))


def _bright(pixels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Every colour at its most vivid: dark and grey ones become white tubes."""
    most, least = pixels.max(-1, keepdims=True), pixels.min(-1, keepdims=True)
    spread = np.maximum(most - least, 1)
    vivid = 40 + (pixels - least) * 215 // spread
    return np.where(most - least < 34, 225, vivid)


def _bricks(shape: tuple[int, int]) -> Grey:
    """Faint joints of a brick wall: 255 in a brick, 0 in a joint."""
    rows, columns = np.indices(shape, dtype=np.int32)
    high = max(4, shape[1] // 12)
    shifted = columns + (rows // high % 2) * high
    thick = stroke(shape[1])
    joint = (rows % high < thick) | (shifted % (2 * high) < thick)
    return np.where(joint, 0, 200).astype(np.int32)

"""Folded from paper: things in flat facets with creases and a soft shadow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from pinxit.world.draw.grey import clouded, picture_of
from pinxit.world.draw.noise import uniforms
from pinxit.world.draw.palette import RGB, mix
from pinxit.world.draw.pen import Layer
from pinxit.world.draw.stage import Stage

_CELLS = 5  # facets are made from a grid of this many cells along a thing's longer side, each cut in two
_PRINT = 0.36  # how much of the thing's own picture shows on the paper
_SHADES = (0.26, 0.0, -0.2, 0.12, -0.1, 0.3, -0.26, 0.05)  # how much lighter or darker a facet lies


def folded(stage: Stage) -> Image.Image:
    """Every thing as a folded sheet: facets of one colour each, light creases, a shadow on the ground."""
    width, height = stage.size
    picture = stage.ground.filter(ImageFilter.BoxBlur(width / 64))
    paper = np.asarray(picture).astype(np.int32)
    fibre = (clouded(stage.seed, "fibre", max(4, width // 3), height, width) - 128) // 20
    picture = picture_of(paper + fibre[..., None])
    for number, layer in enumerate(stage.layers):
        sheet, mask = _sheet(layer, stage.seed, number, width / 64)
        drop = int(1.2 * width / 64)
        shadow = mask.filter(ImageFilter.BoxBlur(width / 64)).point(lambda a: a * 95 // 255)
        picture.paste((40, 40, 60), (layer.x + drop, layer.y + drop), shadow)
        picture.paste(sheet, (layer.x, layer.y), mask)
    return picture


def _sheet(layer: Layer, seed: int, number: int, unit: float) -> tuple[Image.Image, Image.Image]:
    """The layer's facets (RGB) and its straightened silhouette (L)."""
    image = layer.image
    alpha = image.getchannel("A")
    sheet = Image.new("RGB", image.size)
    draw = ImageDraw.Draw(sheet)
    pixels = np.asarray(image).astype(np.int64)
    corners = _mesh(image.size, seed, number)
    creases = []
    for count, triangle in enumerate(_triangles(corners)):
        colour = _mean(pixels, triangle)
        shade = _SHADES[(count * 5 + number) % len(_SHADES)]
        facet = mix(colour, (255, 255, 255), shade) if shade > 0 else mix(colour, (20, 16, 40), -shade)
        draw.polygon(triangle, fill=facet)
        creases.append((triangle, mix(facet, (255, 255, 255), 0.4)))
    sheet = Image.blend(sheet, image.convert("RGB"), _PRINT)
    draw = ImageDraw.Draw(sheet)
    for triangle, tone in creases:
        draw.line([*triangle[:2]], fill=tone, width=max(1, int(0.5 * unit)))
    edge = ImageChops.subtract(alpha, alpha.filter(ImageFilter.MinFilter(3)))
    sheet.paste((255, 255, 255), mask=edge.point(lambda a: a * 70 // 255))
    return sheet, alpha


Triangle = list[tuple[int, int]]


def _mesh(size: tuple[int, int], seed: int, number: int) -> list[list[tuple[int, int]]]:
    """Corners of a grid over the layer, moved about inside their cells."""
    width, height = size
    cell = max(width, height) / _CELLS
    across, down = max(2, round(width / cell)), max(2, round(height / cell))
    draws = iter(uniforms(seed, f"folds/{number}", 2 * (across + 1) * (down + 1)))
    rows = []
    for j in range(down + 1):
        row = []
        for i in range(across + 1):
            dx, dy = 0.6 * (next(draws) - 0.5), 0.6 * (next(draws) - 0.5)
            x = i + dx if 0 < i < across else i
            y = j + dy if 0 < j < down else j
            row.append((int(x * width / across), int(y * height / down)))
        rows.append(row)
    return rows


def _triangles(rows: list[list[tuple[int, int]]]) -> list[Triangle]:
    """The mesh's cells, each cut along one diagonal; the first two corners of each are that diagonal."""
    triangles: list[Triangle] = []
    for j in range(len(rows) - 1):
        for i in range(len(rows[0]) - 1):
            a, b, c, d = rows[j][i], rows[j][i + 1], rows[j + 1][i], rows[j + 1][i + 1]
            cut = ((b, c, a), (b, c, d)) if (i + j) % 2 else ((a, d, b), (a, d, c))
            triangles += [list(corners) for corners in cut]
    return triangles


def _mean(pixels: NDArray[np.int64], triangle: Triangle) -> RGB:
    """The mean colour of what is opaque inside the triangle."""
    height, width = pixels.shape[:2]
    window = Image.new("L", (width, height))
    ImageDraw.Draw(window).polygon(triangle, fill=1)
    x0, y0, x1, y1 = window.getbbox() or (0, 0, 1, 1)
    part = pixels[y0:y1, x0:x1]
    weight = np.asarray(window)[y0:y1, x0:x1] * part[..., 3]
    total = max(int(weight.sum()), 1)
    red, green, blue = (int((part[..., band] * weight).sum()) // total for band in range(3))
    return red, green, blue

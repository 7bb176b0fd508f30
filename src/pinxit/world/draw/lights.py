"""Light and weather: they change the ground, cast shadows on it, and may put a veil in front of everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageFilter

from pinxit.errors import DataError
from pinxit.world.draw.noise import uniforms
from pinxit.world.draw.palette import RGB
from pinxit.world.draw.pen import Layer, Pen, oversampling

Lit = tuple[Image.Image, Image.Image | None]
"""The ground as RGB, and an RGBA veil in front of everything or None."""

_SHADOW: RGB = (74, 58, 84)
_SLANT, _DROP = 1.5, 0.2  # a sunrise shadow reaches so far sideways and down per unit of a thing's height


def _sunrise(ground: Image.Image, layers: Sequence[Layer], seed: int) -> Lit:
    """A low sun on one side, warm light, long shadows to the other side."""
    width, height = ground.size
    side = 0 if uniforms(seed, "sunrise", 1)[0] < 0.5 else 1
    warm = Image.new("RGB", ground.size, (255, 182, 112))
    lit = Image.blend(ground, warm, 0.32)
    at = ((0.08 if side == 0 else 0.92) * width, 0.4 * height)
    for reach, strength in ((0.62, 70), (0.4, 80), (0.24, 110)):
        lit.paste((255, 190, 104), mask=_glow(ground.size, at, reach * width, strength))
    lit.paste((255, 246, 214), mask=_glow(ground.size, at, 0.15 * width, 400))
    for layer in layers:
        lit.paste(_SHADOW, mask=_long_shadow(layer, ground.size, 1 if side == 0 else -1))
    return lit, None


def _glow(size: tuple[int, int], at: tuple[float, float], reach: float, strength: int) -> Image.Image:
    """A soft disc as an L mask."""
    across = max(3, int(2 * reach))
    disc = Image.radial_gradient("L").resize((across, across), Image.Resampling.BILINEAR)  # 0 in the middle
    spot = disc.point([min(255, max(0, 150 - v) * strength // 150) for v in range(256)])
    mask = Image.new("L", size)
    mask.paste(spot, (int(at[0] - across / 2), int(at[1] - across / 2)))
    return mask


def _long_shadow(layer: Layer, size: tuple[int, int], way: int) -> Image.Image:
    """The layer's silhouette thrown along the ground from its foot, as an L mask."""
    alpha = layer.image.getchannel("A")
    foot = layer.y + alpha.height - 1
    slope = way * _SLANT / _DROP
    # A shadow pixel (x, y) below the foot line belongs to the height (y - foot) / _DROP above it.
    rows = (1.0, -slope, slope * foot - layer.x, 0.0, -1 / _DROP, foot / _DROP + alpha.height - 1)
    thrown = alpha.transform(size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)
    return thrown.filter(ImageFilter.BoxBlur(size[0] / 128)).point(lambda a: a * 135 // 255)


def _rain(ground: Image.Image, layers: Sequence[Layer], seed: int) -> Lit:
    """A grey, wet day with slanting streaks."""
    lit = Image.blend(ground, Image.new("RGB", ground.size, (142, 156, 178)), 0.4)
    draws = iter(uniforms(seed, "rain", 120))
    veil, pen, over = _veil(ground.size)
    for _ in range(38):
        x, y, long = next(draws) * 1.1, next(draws) * 1.1 - 0.1, 0.07 + 0.06 * next(draws)
        pen.line(((x, y), (x - 0.3 * long, y + long)), 0.55, (226, 236, 250))
    return lit, _faint(veil.reduce(over), 0.75)


def _snowfall(ground: Image.Image, layers: Sequence[Layer], seed: int) -> Lit:
    """White flakes; a white ground is dimmed so that they show."""
    lit = Image.blend(ground, Image.new("RGB", ground.size, (158, 176, 204)), 0.42)
    draws = iter(uniforms(seed, "snowfall", 150))
    veil, pen, over = _veil(ground.size)
    tall = ground.width / ground.height
    for _ in range(46):
        x, y, size = next(draws), next(draws), 0.006 + 0.009 * next(draws)
        pen.ellipse(x - size, y - size * tall, x + size, y + size * tall, (255, 255, 255))
    return lit, _faint(veil.reduce(over), 0.95)


def _veil(size: tuple[int, int]) -> tuple[Image.Image, Pen, int]:
    over = oversampling(size[0])
    raster = Image.new("RGBA", (size[0] * over, size[1] * over))
    return raster, Pen(raster, (0, 0, *raster.size), size[0] * over / 64), over


def _faint(image: Image.Image, share: float) -> Image.Image:
    image.putalpha(image.getchannel("A").point(lambda a: int(a * share)))
    return image


LIGHTS: dict[str, Callable[[Image.Image, Sequence[Layer], int], Lit]] = {
    "sunrise": _sunrise,
    "rain": _rain,
    "snowfall": _snowfall,
}


def lighted(light: str | None, ground: Image.Image, layers: Sequence[Layer], seed: int) -> Lit:
    """The ground in this light, and the veil. Raises DataError for a light that the world does not have."""
    if light is None:
        return ground, None
    if light not in LIGHTS:
        raise DataError(f"the world has no light '{light}'; choose from {', '.join(LIGHTS)}.")
    return LIGHTS[light](ground, layers, seed)

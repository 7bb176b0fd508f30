"""The eleven basic colour terms (Berlin and Kay 1969) as the world paints them, and the tones made from them."""

from __future__ import annotations

from pinxit.errors import DataError

RGB = tuple[int, int, int]

PALETTE: dict[str, RGB] = {
    "red": (215, 35, 40),
    "orange": (250, 135, 15),
    "yellow": (252, 218, 35),
    "green": (35, 150, 65),
    "blue": (35, 85, 215),
    "purple": (130, 42, 168),
    "pink": (250, 145, 195),
    "brown": (120, 67, 31),
    "black": (26, 26, 30),
    "gray": (140, 142, 147),
    "white": (250, 250, 250),
}
"""What an object of each colour is painted with."""

GROUNDS: dict[str, RGB] = {
    "red": (208, 84, 78),
    "orange": (242, 166, 92),
    "yellow": (250, 230, 134),
    "green": (116, 180, 122),
    "blue": (104, 146, 224),
    "purple": (152, 104, 182),
    "pink": (249, 194, 217),
    "brown": (148, 108, 78),
    "black": (40, 40, 45),
    "gray": (184, 185, 189),
    "white": (255, 255, 255),
}
"""What a plain ground of each colour is painted with: softer than the objects, so that they stand out."""

INK: RGB = (38, 38, 46)
PAPER: RGB = (247, 245, 238)
_JITTER = 0.05


def colour_rgb(name: str) -> RGB:
    """The palette colour of a term. Raises DataError for any other word."""
    if name not in PALETTE:
        raise DataError(f"'{name}' is not one of the world's colours; choose from {', '.join(PALETTE)}.")
    return PALETTE[name]


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Linear interpolation from `a` (share 0) to `b` (share 1)."""
    return (_mean(a[0], b[0], share), _mean(a[1], b[1], share), _mean(a[2], b[2], share))


def _mean(a: int, b: int, share: float) -> int:
    return int(a + (b - a) * share + 0.5)


def luminance(rgb: RGB) -> float:
    """Perceived lightness 0..255 (ITU-R BT.601 weights)."""
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def jittered(rgb: RGB, draw: float) -> RGB:
    """`rgb` a little lighter or darker; `draw` is uniform in [0, 1). Too little to cross into another term."""
    share = (2 * draw - 1) * _JITTER
    return mix(rgb, (255, 255, 255), share) if share > 0 else mix(rgb, (0, 0, 0), -share)


def tones(rgb: RGB) -> tuple[RGB, RGB, RGB]:
    """(dark, base, light) of one colour for shaded things; all three still classify as that colour."""
    bright = luminance(rgb)
    if bright > 230:
        return mix(rgb, (150, 155, 170), 0.45), mix(rgb, (150, 155, 170), 0.1), (255, 255, 255)
    if bright < 40:
        return mix(rgb, (0, 0, 0), 0.5), mix(rgb, (60, 60, 66), 0.35), mix(rgb, (74, 74, 80), 0.95)
    return mix(rgb, (0, 0, 0), 0.24), rgb, mix(rgb, (255, 255, 255), 0.24)


def ramp(rgb: RGB, share: float) -> RGB:
    """A tone between dark (0), base (0.5) and light (1)."""
    dark, base, light = tones(rgb)
    return mix(dark, base, 2 * share) if share < 0.5 else mix(base, light, 2 * share - 1)


def line_tone(rgb: RGB) -> RGB:
    """A colour for thin lines on or around something painted `rgb`: darker, or lighter where `rgb` is dark."""
    if luminance(rgb) < 60:
        return mix(rgb, (255, 255, 255), 0.55)
    return mix(rgb, (30, 30, 45), 0.5)


def ink_on(rgb: RGB) -> RGB:
    """Black or white, whichever reads better on `rgb`."""
    return INK if luminance(rgb) > 140 else (255, 255, 255)


def distance(a: RGB, b: RGB) -> float:
    """How clearly two colours differ side by side: Euclidean in RGB."""
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2) ** 0.5)


def nearest(rgb: RGB) -> str:
    """The term a person would use for `rgb`: the nearest palette colour in Oklab (Ottosson 2020), where a difference
    of lightness counts less than one of hue, since shading changes lightness."""
    lightness, a, b = _oklab(rgb)
    return min(_ANCHORS, key=lambda name: _gap(_ANCHORS[name], lightness, a, b))


_LIGHTNESS_SHARE = 0.4


def _gap(anchor: tuple[float, float, float], lightness: float, a: float, b: float) -> float:
    return (_LIGHTNESS_SHARE * (anchor[0] - lightness)) ** 2 + (anchor[1] - a) ** 2 + (anchor[2] - b) ** 2


def _oklab(rgb: RGB) -> tuple[float, float, float]:
    red, green, blue = (((v / 255 + 0.055) / 1.055) ** 2.4 if v > 10 else v / 255 / 12.92 for v in rgb)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


_ANCHORS = {name: _oklab(rgb) for name, rgb in PALETTE.items()}

"""Shaded solids, lit from the upper left: cube, sphere, cylinder, cone. Three tones of the colour, edge to edge."""

from __future__ import annotations

import math

from pinxit.world.draw.palette import RGB, mix, ramp, tones
from pinxit.world.draw.pen import Pen

CUBE_DEPTH = 0.28  # how far the top and side faces of a cube reach back, as a share of its box
SOLID_ASPECTS: dict[str, float] = {"cube": 1.0, "sphere": 1.0, "cylinder": 0.8, "cone": 0.95}

_STRIPS = 14
_LID = 0.14  # half the height of the ellipse that ends a cylinder
_FOOT = 0.12  # half the height of the ellipse under a cone
_ARC = tuple(
    (round(0.5 - 0.5 * math.cos(math.pi * k / _STRIPS), 6), round(math.sin(math.pi * k / _STRIPS), 6))
    for k in range(_STRIPS + 1)
)  # the front half of an ellipse from left to right: x, and how far it bulges, 0..1


def _cube(pen: Pen, colour: RGB) -> None:
    dark, base, light = tones(colour)
    far, near = CUBE_DEPTH, 1 - CUBE_DEPTH
    pen.polygon(((0, far), (far, 0), (1, 0), (near, far)), light)
    pen.polygon(((near, far), (1, 0), (1, near), (near, 1)), dark)
    pen.rectangle(0, far, near, 1, base)


def _sphere(pen: Pen, colour: RGB) -> None:
    steps = 9
    for k in range(steps):
        share = k / (steps - 1)
        radius, shift = 0.5 - 0.36 * share, -0.13 * share
        low, high = 0.5 + shift - radius, 0.5 + shift + radius
        pen.ellipse(low, low, high, high, ramp(colour, 0.05 + 0.9 * share))
    shine = mix(tones(colour)[2], (255, 255, 255), 0.75)
    pen.ellipse(0.25, 0.21, 0.43, 0.37, shine)


def _strip_tone(colour: RGB, k: int) -> RGB:
    """Light a third of the way across, dark at the right edge."""
    across = (k + 0.5) / _STRIPS
    return ramp(colour, 0.5 + across if across < 0.3 else 0.8 - 0.85 * (across - 0.3) / 0.7)


def _cylinder(pen: Pen, colour: RGB) -> None:
    for k in range(_STRIPS):
        (x0, bulge0), (x1, bulge1) = _ARC[k], _ARC[k + 1]
        foot0, foot1 = 1 - _LID + _LID * bulge0, 1 - _LID + _LID * bulge1
        pen.polygon(((x0, _LID), (x1, _LID), (x1, foot1), (x0, foot0)), _strip_tone(colour, k))
    dark, _, light = tones(colour)
    pen.ellipse(0, 0, 1, 2 * _LID, dark)
    pen.ellipse(0.03, 0.015, 0.97, 2 * _LID - 0.02, light)


def _cone(pen: Pen, colour: RGB) -> None:
    for k in range(_STRIPS):
        (x0, bulge0), (x1, bulge1) = _ARC[k], _ARC[k + 1]
        foot0, foot1 = 1 - _FOOT + _FOOT * bulge0, 1 - _FOOT + _FOOT * bulge1
        pen.polygon(((0.5, 0), (x1, foot1), (x0, foot0)), _strip_tone(colour, k))


SOLIDS = {"cube": _cube, "sphere": _sphere, "cylinder": _cylinder, "cone": _cone}


def draw_solid(pen: Pen, name: str, colour: RGB) -> None:
    """Draw the solid `name` over the whole region of `pen`."""
    SOLIDS[name](pen, colour)

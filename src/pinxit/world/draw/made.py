"""Made things, whose outline and colour are free: armchair, clock, flower pot, lamp, plate, sign, storefront."""

from __future__ import annotations

from collections.abc import Callable

from pinxit.world.draw.forms import MadeThing, core, draw_body, form_aspect
from pinxit.world.draw.palette import INK, RGB, luminance, mix, ramp, tones
from pinxit.world.draw.pen import Pen, on_circle
from pinxit.world.draw.shapes import CIRCLE
from pinxit.world.draw.signs import draw_sign, draw_storefront

_WHITE: RGB = (255, 255, 255)
_METAL: RGB = (120, 124, 132)
_WOOD: RGB = (126, 88, 56)
_LEAF, _LEAF_DARK, _PETAL = (88, 176, 76), (46, 122, 58), (246, 176, 200)


def _clock(pen: Pen, make: MadeThing) -> None:
    form = make.form or "circle"
    dark, base, light = tones(make.colour)
    draw_body(pen, make, form)
    x, y, across, down = core(form)
    share = 0.84 if form in _ROOMY else 0.95
    _disc(pen, x, y, across * share + 0.02, down * share + 0.02, dark if luminance(base) > 60 else light)
    across, down = across * share, down * share
    face = pen.within(x - across, y - down, x + across, y + down)
    face.ellipse(0, 0, 1, 1, _WHITE)
    _ticks(face)
    hour, minute = _time(make.chance)
    _hand(face, hour, 0.26, 1.3)
    _hand(face, minute, 0.37, 0.9)


_ROOMY = ("circle", "ring", "square", "hexagon", "pentagon")  # outlines that leave room around a face


def _disc(pen: Pen, x: float, y: float, across: float, down: float, fill: RGB) -> None:
    pen.ellipse(x - across, y - down, x + across, y + down, fill)


def _time(chance: tuple[float, float]) -> tuple[float, float]:
    """Where the two hands point, in turns: any five minutes of the day at which they are well apart."""
    minute = int(chance[1] * 12) / 12
    hour = (int(chance[0] * 12) + minute) / 12
    near = min((hour - minute) % 1, (minute - hour) % 1) < 1 / 6
    return (hour + 1 / 3 if near else hour), minute


def _ticks(face: Pen) -> None:
    for k in range(12):
        reach = 0.35 if k % 3 == 0 else 0.39
        if k % 3 and face.region[2] - face.region[0] < 16 * face.point:
            continue  # twelve ticks would run together
        (x0, y0), (x1, y1) = on_circle(k / 12, reach), on_circle(k / 12, 0.45)
        face.line(((x0, y0), (x1, y1)), 0.6, INK)


def _hand(face: Pen, turn: float, reach: float, width: float) -> None:
    face.line(((0.5, 0.5), on_circle(turn, reach)), width, INK)


_POT_LEAVES = (  # tip x, tip y, half width: from the stem's foot at (0.5, 1), far leaves first
    (0.02, 0.42, 0.10),
    (0.98, 0.42, 0.10),
    (0.2, 0.12, 0.11),
    (0.8, 0.12, 0.11),
)


def _flower_pot(pen: Pen, make: MadeThing) -> None:
    plant = pen.within(0, 0, 1, 0.56)
    for tip_x, tip_y, half in _POT_LEAVES:
        _leaf(plant, tip_x, tip_y, half)
    plant.line(((0.5, 1), (0.5, 0.3)), 1.2, _LEAF_DARK)
    for dx, dy in ((-0.13, -0.16), (0.13, -0.16), (-0.13, 0.16), (0.13, 0.16)):
        plant.ellipse(0.5 + dx - 0.13, 0.32 + dy - 0.16, 0.5 + dx + 0.13, 0.32 + dy + 0.16, _PETAL)
    plant.ellipse(0.39, 0.19, 0.61, 0.45, (250, 200, 40))
    dark, base, _ = tones(make.colour)
    if make.form:
        draw_body(pen.within(0.1, 0.46, 0.9, 1), make, make.form)
        return
    pen.polygon(((0.14, 0.56), (0.86, 0.56), (0.74, 1), (0.26, 1)), base)
    pen.rectangle(0.06, 0.5, 0.94, 0.63, base)
    pen.rectangle(0.12, 0.63, 0.88, 0.66, dark)


def _leaf(pen: Pen, tip_x: float, tip_y: float, half: float) -> None:
    middle_x, middle_y = (0.5 + tip_x) / 2, (1 + tip_y) / 2
    pen.polygon(((0.5, 1), (middle_x - half, middle_y - half / 2), (tip_x, tip_y), (middle_x + half, middle_y)), _LEAF)
    pen.line(((0.5, 1), (tip_x, tip_y)), 0.5, _LEAF_DARK)


def _lamp(pen: Pen, make: MadeThing) -> None:
    stem = mix(tones(make.colour)[0], INK, 0.55)
    pen.rectangle(0.465, 0.55, 0.535, 0.96, stem)
    pen.polygon(tuple((0.22 + 0.56 * x, 0.9 + 0.2 * y) for x, y in CIRCLE if y <= 0.5), stem)
    pen.polygon(((0.22, 1), (0.22, 0.99), (0.78, 0.99), (0.78, 1)), stem)
    pen.ellipse(0.42, 0.5, 0.58, 0.66, (255, 240, 160))
    _, base, light = tones(make.colour)
    if make.form:
        draw_body(pen.within(0, 0, 1, 0.64), make, make.form)
        return
    left, right, steps = 0.28, 0.72, 8
    for k in range(steps):
        a, b = k / steps, (k + 1) / steps
        top = (left + (right - left) * a, left + (right - left) * b)
        fill = ramp(make.colour, 0.4 + 0.5 * (1 - abs(2 * (a + b) / 2 - 0.8)))
        pen.polygon(((top[0], 0), (top[1], 0), (b, 0.58), (a, 0.58)), fill)
    pen.line(((0.01, 0.575), (0.99, 0.575)), 0.6, mix(base, light, 0.8))


def _plate(pen: Pen, make: MadeThing) -> None:
    form = make.form or "circle"
    dark, _, light = tones(make.colour)
    draw_body(pen.within(0.16, 0, 0.84, 1), make, form)
    x, y, across, down = core(form)
    x, across = 0.16 + 0.68 * x, 0.68 * across
    _disc(pen, x, y, 0.72 * across, 0.72 * down, dark)
    _disc(pen, x, y, 0.65 * across, 0.65 * down, light)
    for tine in (0.0, 0.04, 0.08):
        pen.rectangle(tine, 0.12, tine + 0.022, 0.36, _METAL)
    pen.rectangle(0.0, 0.33, 0.102, 0.41, _METAL)
    pen.rectangle(0.035, 0.41, 0.067, 0.9, _METAL)
    pen.polygon(((0.93, 0.5), (0.93, 0.2), (0.96, 0.12), (1, 0.1), (1, 0.5)), _METAL)
    pen.rectangle(0.95, 0.5, 0.985, 0.9, _METAL)


_BACK = (  # the usual back of an armchair: a rounded block
    (0, 0.25),
    (0.06, 0.08),
    (0.2, 0),
    (0.8, 0),
    (0.94, 0.08),
    (1, 0.25),
    (1, 1),
    (0, 1),
)


def _armchair(pen: Pen, make: MadeThing) -> None:
    dark, base, light = tones(make.colour)
    for x in (0.12, 0.78):
        pen.rectangle(x, 0.88, x + 0.1, 1, _WOOD)
    back = pen.within(0.1, 0, 0.9, 0.86) if make.form else pen.within(0.12, 0, 0.88, 0.8)
    if make.form:
        draw_body(back, make, make.form)
    else:
        back.polygon(_BACK, base)
        back.rectangle(0.1, 0.55, 0.9, 0.6, dark)
    pen.rectangle(0.1, 0.6, 0.9, 0.92, base)
    pen.rectangle(0.14, 0.56, 0.86, 0.7, light)
    pen.rectangle(0.14, 0.69, 0.86, 0.72, dark)
    for x in (0.0, 0.8):
        pen.ellipse(x, 0.42, x + 0.2, 0.62, dark)
        pen.rectangle(x, 0.52, x + 0.2, 0.92, dark)
        pen.ellipse(x + 0.03, 0.45, x + 0.17, 0.59, base)
        pen.rectangle(x + 0.03, 0.52, x + 0.17, 0.89, base)


MADE: dict[str, Callable[[Pen, MadeThing], None]] = {
    "armchair": _armchair,
    "clock": _clock,
    "flower pot": _flower_pot,
    "lamp": _lamp,
    "plate": _plate,
    "sign": draw_sign,
    "storefront": draw_storefront,
}
USUAL: dict[str, RGB] = {
    "armchair": (190, 96, 58),
    "clock": (140, 142, 147),
    "flower pot": (190, 96, 58),
    "lamp": (252, 218, 35),
    "plate": (250, 250, 250),
    "sign": (250, 250, 250),
    "storefront": (190, 96, 58),
}
"""The colour of a made thing when none is asked for."""

_SHARES: dict[str, tuple[float, float]] = {  # the outline's part of the box: width, height
    "armchair": (0.8, 0.86),
    "clock": (1.0, 1.0),
    "flower pot": (0.8, 0.54),
    "lamp": (1.0, 0.64),
    "plate": (0.68, 1.0),
    "sign": (1.0, 0.66),
    "storefront": (1.0, 1.0),
}
_ASPECTS: dict[str, float] = {
    "armchair": 1.0,
    "clock": 1.0,
    "flower pot": 0.72,
    "lamp": 0.75,
    "plate": 1.47,
    "sign": 1.0,
    "storefront": 1.15,
}


def made_aspect(name: str, form: str | None) -> float:
    """Width over height of a made thing whose outline keeps its natural proportions."""
    if form is None:
        return _ASPECTS[name]
    wide, high = _SHARES[name]
    return form_aspect(form) * high / wide


def draw_made(pen: Pen, name: str, make: MadeThing) -> None:
    """Draw the made thing over the whole region of `pen`."""
    MADE[name](pen, make)

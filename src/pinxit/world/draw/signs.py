"""Made things that carry words: a sign on a post, a storefront."""

from __future__ import annotations

from pinxit.world.draw.forms import MadeThing, core, draw_body, draw_form
from pinxit.world.draw.palette import INK, RGB, ink_on, line_tone, mix, tones
from pinxit.world.draw.pen import Pen
from pinxit.world.draw.words import write

_WHITE: RGB = (255, 255, 255)
_WOOD, _CREAM, _GLASS = (126, 88, 56), (250, 246, 232), (176, 214, 232)


def draw_sign(pen: Pen, make: MadeThing) -> None:
    """A board on a post: with words, or with an arrow."""
    pen.rectangle(0.45, 0.5, 0.55, 1, _WOOD)
    form = make.form or "square"
    board = pen.within(0, 0, 1, 0.66)
    draw_form(board, form, line_tone(make.colour))
    if form == "square":
        board.rectangle(0.03, 0.05, 0.97, 0.95, make.colour)
        text = board.within(0.05, 0.14, 0.95, 0.86)
    else:
        draw_body(board.within(0.05, 0.05, 0.95, 0.95), make, form)
        x, y, across, down = core(form)
        text = board.within(x - 0.86 * across, y - 0.5 * down, x + 0.86 * across, y + 0.5 * down)
    if make.words:
        write(text, make.words, ink_on(make.colour))
    else:
        text.polygon(_ARROW, ink_on(make.colour))


_ARROW = ((0.1, 0.36), (0.55, 0.36), (0.55, 0.1), (0.92, 0.5), (0.55, 0.9), (0.55, 0.64), (0.1, 0.64))


def draw_storefront(pen: Pen, make: MadeThing) -> None:
    """A shop: its name over a striped awning, a window and a door. It has one outline only."""
    dark, base, light = tones(make.colour)
    pen.rectangle(0.03, 0, 0.97, 1, base)
    pen.rectangle(0, 0, 1, 0.34, dark)
    pen.rectangle(0.015, 0.025, 0.985, 0.315, _CREAM)
    if make.words:
        write(pen.within(0.03, 0.055, 0.97, 0.285), make.words, INK)
    pen.rectangle(0.1, 0.5, 0.58, 0.86, line_tone(make.colour))
    pen.rectangle(0.125, 0.5, 0.555, 0.835, _GLASS)
    pen.polygon(((0.2, 0.835), (0.34, 0.5), (0.44, 0.5), (0.3, 0.835)), mix(_GLASS, _WHITE, 0.5))
    pen.rectangle(0.67, 0.5, 0.9, 1, line_tone(make.colour))
    pen.rectangle(0.7, 0.53, 0.87, 0.76, _GLASS)
    pen.rectangle(0.84, 0.8, 0.87, 0.84, _CREAM)
    stripes = 9
    for k in range(stripes):
        left, right = k / stripes, (k + 1) / stripes
        fill = _WHITE if k % 2 else light
        pen.rectangle(left, 0.34, right, 0.48, fill)
        pen.ellipse(left, 0.44, right, 0.53, fill)

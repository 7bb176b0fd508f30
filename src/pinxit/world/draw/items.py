"""One item of a scene as a layer, whatever its kind."""

from __future__ import annotations

from pinxit.errors import DataError
from pinxit.world.draw.cutouts import SpriteVariant, cutout, sprite_layer
from pinxit.world.draw.forms import MadeThing, check_form, core
from pinxit.world.draw.made import MADE, USUAL, draw_made, made_aspect
from pinxit.world.draw.made_of import material_colour
from pinxit.world.draw.noise import uniforms
from pinxit.world.draw.outfits import Outfit
from pinxit.world.draw.palette import PALETTE, RGB, colour_rgb, ink_on, jittered
from pinxit.world.draw.pen import Frame, Layer, frame_of
from pinxit.world.draw.shapes import OUTLINES, SHAPE_ASPECTS, draw_shape
from pinxit.world.draw.solids import SOLID_ASPECTS, SOLIDS, draw_solid
from pinxit.world.draw.sprites import mean_colour
from pinxit.world.draw.words import write
from pinxit.world.scene import Item

WRITTEN = ("sign", "storefront")  # the made things that carry words
_ANY = ("red", "orange", "green", "blue", "purple", "pink")  # for shapes whose colour is not given


def item_aspect(name: str, kind: str, form: str | None = None, artist: str | None = None, outfit: Outfit = ()) -> float:
    """Width over height of the box that shows an item at its natural proportions (a hat makes a penguin taller).

    Raises DataError for a shape, solid or made thing that is not in the world, UsageError for an unknown sprite.
    """
    if kind == "sprite":
        width, height = cutout(SpriteVariant(name, artist, outfit)).size
        return width / height
    _check(name, kind, form)
    if kind == "made":
        return made_aspect(name, form)
    return (SHAPE_ASPECTS if kind == "shape" else SOLID_ASPECTS).get(name, 1.0)


def draw_item(item: Item, size: int, seed: int, index: int, opened: bool = False) -> tuple[Layer, RGB | None]:
    """Item `index` of a scene in a picture of `size` pixels, and the colour it is painted with (None: a sprite's own).
    A rim in a tone of that colour is due where the ground has it too.

    `seed` chooses what no caption mentions: a slightly lighter or darker colour, the time on a clock. `opened`: cut
    through, as a cross-section shows it.
    """
    _check_item(item, opened)
    frame = frame_of(item.box, size)
    draws = uniforms(seed, f"item/{index}", 4)
    if item.kind == "sprite":
        colour = jittered(colour_rgb(item.colour), draws[0]) if item.colour else None
        if item.material:  # its colour decides whether it needs a rim; it is painted already
            colour = material_colour(item.material, item.artist)
        variant = SpriteVariant(item.name, item.artist, item.outfit, item.material, opened)
        return sprite_layer(frame, variant, item.flip, None if item.material else colour), colour
    colour = _colour(item, draws)
    return _drawn(item, frame, colour, (draws[2], draws[3])), colour


def _colour(item: Item, draws: list[float]) -> RGB:
    if item.colour:
        return jittered(colour_rgb(item.colour), draws[0])
    if item.form is not None and _natural(item):
        return mean_colour(item.form)
    if item.kind == "made":
        return USUAL[item.name]
    return jittered(PALETTE[_ANY[int(draws[1] * len(_ANY))]], draws[0])


def _drawn(item: Item, frame: Frame, colour: RGB, chance: tuple[float, float]) -> Layer:
    pen = frame.pen()
    if item.kind == "shape":
        draw_shape(pen, item.name, colour)
        if item.words:
            x, y, across, down = core(item.name)
            middle = pen.within(x - 0.86 * across, y - 0.5 * down, x + 0.86 * across, y + 0.5 * down)
            write(middle, item.words, ink_on(colour))
    elif item.kind == "solid":
        draw_solid(pen, item.name, colour)
    else:
        draw_made(pen, item.name, MadeThing(colour, item.form, chance, item.words, _natural(item)))
    return frame.layer(pen)


def _natural(item: Item) -> bool:
    """Whether a made thing wears the picture of the sprite whose form it has."""
    return item.form is not None and item.form not in OUTLINES and item.colour is None


def _check(name: str, kind: str, form: str | None = None) -> None:
    known: dict[str, tuple[str, ...]] = {"shape": (*OUTLINES,), "solid": (*SOLIDS,), "made": (*MADE,)}
    if kind not in known:
        raise DataError(f"the world has no kind '{kind}'; choose sprite, shape, solid or made.")
    if name not in known[kind]:
        raise DataError(f"the world draws no {kind} '{name}'; choose from {', '.join(known[kind])}.")
    if form is not None and (kind != "made" or name == "storefront"):
        raise DataError(f"a {name} has no free form, so it cannot take the form '{form}'.")
    if form is not None:
        check_form(form)


def _check_item(item: Item, opened: bool) -> None:
    """Raise DataError for facts that would not be drawn: every fact of an item must be visible in the picture."""
    x0, y0, x1, y1 = item.box
    if not (-2 <= x0 < x1 <= 3 and -2 <= y0 < y1 <= 3):
        raise DataError(f"the box {item.box} of '{item.name}' is empty or far outside the picture.")
    if item.outfit and item.kind != "sprite":
        raise DataError(f"a {item.name} cannot be dressed; only sprites wear clothes.")
    if (item.material or opened) and item.kind != "sprite":
        deed = "cut open" if opened else f"made of a {item.material}"
        raise DataError(f"a {item.name} cannot be {deed}; only sprites can.")
    if item.material and item.colour:
        raise DataError(f"a {item.name} made of a {item.material} has its colour, so it cannot be {item.colour}.")
    if sum(map(bool, (item.outfit, item.material, opened))) > 1:
        raise DataError(f"a {item.name} can be dressed, made of another or cut open, but one of these at a time.")
    if item.words and item.kind != "shape" and item.name not in WRITTEN:
        raise DataError(f"nothing can be written on a {item.name}; use a flat shape, a sign or a storefront.")
    if item.kind != "sprite":
        _check(item.name, item.kind, item.form)

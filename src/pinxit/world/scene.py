"""A scene is the ground truth of a picture: what is in it, where, and how it is drawn. Captions and judges are based
on it.

Coordinates are fractions of the picture side, x to the right and y downwards, so a scene renders at any size. Every box
edge is a whole number of 64ths: at 64 pixels and its multiples objects are aligned with the pixel grid. In a pair
(`lower_style`) all boxes are in the upper half, y <= 0.5; the drawing repeats it half a picture further down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["sprite", "shape", "solid", "made"]
RelationName = Literal[
    "left of",
    "right of",
    "above",
    "below",
    "on top of",
    "inside",
    "behind",
    "riding",
    "walking",  # on a leash
    "drinking",
    "making",
]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in the picture. Its pixels fill `box` edge to edge, except where something nearer hides them."""

    name: str  # key of the vocabulary: "penguin", "triangle", "cube", "clock"
    kind: Kind
    box: Box
    depth: int = 0  # painter's order, 0 is furthest away
    colour: str | None = None  # one of the eleven terms; None is a sprite's natural colours
    size: Literal["small", "big"] | None = None  # None: the caption does not speak of size
    artist: str | None = None  # who drew the sprite; None for what is drawn in code
    form: str | None = None  # the free outline of a made thing: "triangle" in "a triangular green clock"
    material: str | None = None  # the sprite that it is made of: "harp" in "a snail made of a harp"
    outfit: tuple[
        tuple[str, str], ...
    ] = ()  # (colour, garment), e.g. (("red", "hat"), ("", "tutu")); "": its usual one
    words: str | None = None  # what is written on it
    flip: bool = False  # mirrored left to right


@dataclass(frozen=True, slots=True)
class Relation:
    """`items[subject]` has the relation `name` to `items[object]`."""

    subject: int
    name: RelationName
    object: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything there is to know about one picture."""

    pattern: str  # the grammar rule that made it: "single_object", "counting", "position", "pair", ...
    items: tuple[Item, ...]
    relations: tuple[Relation, ...] = ()
    place: str = "white"  # a colour term for a plain ground, or "meadow", "beach", "snow", ...
    light: str | None = None  # "sunrise", "rain", "snowfall"
    style: str | None = None  # "pencil sketch", "watercolour", "pixel art", ...
    view: str | None = None  # "close-up", "from afar", "upside down", "fisheye", "cross-section"
    lower_style: str | None = None  # pairs: the same picture is repeated in the lower half in this style
    noise: int = field(default=0)  # seed of what no caption mentions: grass blades, cloud places, grain


USUAL_COLOURS = {"tutu": "pink"}
"""The colours of garments in which an outfit may have them without a given one: ("", "tutu")."""


def garment_colour(colour: str, garment: str) -> str:
    """The colour in which a garment of an outfit is drawn."""
    return colour or USUAL_COLOURS.get(garment, "")

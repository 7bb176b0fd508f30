"""The drawing of the world: deterministic, edge to edge, in the right colours, at every size."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pinxit.errors import DataError, UsageError
from pinxit.world.draw import GROUNDS, PALETTE, item_aspect, render, render_masks
from pinxit.world.draw.palette import distance, jittered, nearest, tones
from pinxit.world.draw.places import PLACES
from pinxit.world.draw.styles import STYLES
from pinxit.world.scene import Box, Item, Scene

SHAPES = ("circle", "square", "triangle", "star", "heart", "pentagon", "hexagon", "ring")
SOLIDS = ("cube", "sphere", "cylinder", "cone")
MADE = ("armchair", "clock", "flower pot", "lamp", "plate", "sign")
CODED = (
    [(name, "shape") for name in SHAPES] + [(n, "solid") for n in SOLIDS] + [(n, "made") for n in (*MADE, "storefront")]
)
USUAL_FORMS = {("clock", "circle"), ("clock", "ring"), ("plate", "circle"), ("plate", "ring"), ("sign", "square")}


def box_of(name: str, kind: str, width: float, x: float, y: float, form: str | None = None) -> Box:
    """A box of natural proportions around (x, y)."""
    height = width / item_aspect(name, kind, form)
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def item(name: str, kind: str, width: float = 0.5, x: float = 0.5, y: float = 0.5, **more: object) -> Item:
    return Item(name, kind, box_of(name, kind, width, x, y, more.get("form")), **more)  # type: ignore[arg-type]


def alone(thing: Item, place: str = "white", **more: object) -> Scene:
    return Scene("single_object", (thing,), place=place, **more)  # type: ignore[arg-type]


def extents(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


MIXED = Scene(
    "mixed",
    (
        item("penguin", "sprite", 0.3, 0.25, 0.3),
        item("cube", "solid", 0.3, 0.72, 0.28, colour="green"),
        item("clock", "made", 0.35, 0.7, 0.72, colour="blue", form="triangle"),
        item("heart", "shape", 0.25, 0.25, 0.75, colour="pink"),
    ),
    place="meadow",
    noise=7,
)


def digest(scene: Scene, size: int = 64) -> str:
    return hashlib.blake2b(render(scene, size).tobytes(), digest_size=8).hexdigest()


def test_pictures_are_what_everyone_expects() -> None:
    picture = render(MIXED, 48)
    assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8 and picture.flags.writeable


def test_the_same_scene_is_the_same_picture_and_noise_changes_it() -> None:
    assert digest(MIXED) == digest(MIXED)
    again = Scene(MIXED.pattern, MIXED.items, place="meadow", noise=8)
    assert digest(again) != digest(MIXED)


@pytest.mark.parametrize(("name", "kind"), CODED)
@pytest.mark.parametrize("colour", PALETTE)
def test_everything_fills_its_box_in_its_colour(name: str, kind: str, colour: str) -> None:
    thing = item(name, kind, 0.55, 0.47, 0.52, colour=colour)
    scene = alone(thing, "blue" if colour == "white" else "white")
    (mask,) = render_masks(scene)
    for found, expected in zip(extents(mask), thing.box, strict=True):
        assert abs(found - expected * 64) <= 1
    if kind != "made":
        seen = render(scene)[mask]
        names = [nearest((int(r), int(g), int(b))) for r, g, b in seen]
        assert names.count(colour) >= 0.8 * len(names)


@pytest.mark.parametrize("name", [*SHAPES, *SOLIDS])
def test_things_stay_readable_at_twelve_pixels(name: str) -> None:
    """At the smallest size every pair of shapes and solids differs in many pixels."""
    own = _tiny(name)
    for other in (*SHAPES, *SOLIDS):
        if other != name:
            assert (np.abs(own - _tiny(other)).max(-1) > 40).sum() >= 8, other


def _tiny(name: str) -> NDArray[np.int32]:
    kind = "shape" if name in SHAPES else "solid"
    thing = Item(name, kind, (0.0, 0.0, 0.25, 0.25), colour="red")  # type: ignore[arg-type]
    return render(alone(thing), 48)[:12, :12].astype(np.int32)


@pytest.mark.parametrize("colour", ["black", "white", "gray"])
@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_shaded_even_without_a_hue(name: str, colour: str) -> None:
    scene = alone(item(name, "solid", colour=colour), "blue")
    light = np.asarray(Image.fromarray(render(scene)).convert("L"))[render_masks(scene)[0]]
    assert np.percentile(light, 95) - np.percentile(light, 5) >= 25


@pytest.mark.parametrize("colour", PALETTE)
def test_tones_and_grounds_keep_their_name(colour: str) -> None:
    for draw in (0.0, 1.0):
        assert all(nearest(tone) == colour for tone in tones(jittered(PALETTE[colour], draw)))
    assert nearest(GROUNDS[colour]) == colour


def test_no_two_colours_of_the_palette_are_near() -> None:
    names = list(PALETTE)
    gaps = [distance(PALETTE[a], PALETTE[b]) for a in names for b in names if a < b]
    assert min(gaps) >= 80


@pytest.mark.parametrize("colour", PALETTE)
@pytest.mark.parametrize("place", [*GROUNDS, *PLACES])
def test_every_thing_stands_out_from_every_ground(colour: str, place: str) -> None:
    """A thing whose colour is near the ground's gets a rim, so its outline is always seen."""
    thing = item("circle", "shape", 0.5, colour=colour)
    with_it, without = render(alone(thing, place)), render(Scene("empty", (), place=place))
    (mask,) = render_masks(alone(thing, place))
    edge = mask & ~(np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1))
    change = np.abs(with_it.astype(int) - without).max(-1)[edge]
    assert np.median(change) >= 30


def test_masks_follow_depth() -> None:
    near = item("square", "shape", 0.4, 0.5, 0.5, colour="red", depth=2)
    far = item("circle", "shape", 0.7, 0.5, 0.5, colour="blue", depth=1)
    masks = render_masks(Scene("behind", (near, far)))
    assert not (masks[0] & masks[1]).any()
    picture = render(Scene("behind", (near, far)))
    assert nearest(tuple(picture[32, 32].tolist())) == "red"
    assert masks[0].sum() == pytest.approx((0.4 * 64) ** 2, rel=0.05)
    alone_far = render_masks(Scene("alone", (far,)))[0]
    assert (masks[0] | masks[1]).sum() == pytest.approx(alone_far.sum(), rel=0.01)


@pytest.mark.parametrize("style", [None, *STYLES])
@pytest.mark.parametrize("size", [32, 128, 256])
def test_every_size_shows_the_same_picture(size: int, style: str | None) -> None:
    scene = Scene(MIXED.pattern, MIXED.items, place="meadow", style=style, noise=7)
    side = min(size, 64)
    small = Image.fromarray(render(scene, side))
    large = Image.fromarray(render(scene, max(size, 64))).reduce(max(size, 64) // side)
    gap = np.abs(np.asarray(small).astype(int) - np.asarray(large))
    most = 6 if style is None else 16 if size > 64 else 22  # a fine line cannot be thinner than a pixel
    assert gap.mean() <= most


@pytest.mark.parametrize("flip", [False, True])
def test_sprites_fill_their_box_and_are_mirrored(flip: bool) -> None:
    thing = item("snail", "sprite", 0.6, artist="noto", flip=flip)
    (mask,) = render_masks(alone(thing), 128)
    for found, expected in zip(extents(mask), thing.box, strict=True):
        assert abs(found - expected * 128) <= 1.5
    (other,) = render_masks(alone(item("snail", "sprite", 0.6, artist="noto", flip=not flip)), 128)
    assert (mask != other[:, ::-1]).mean() < 0.01 < (mask != other).mean()


@pytest.mark.parametrize("form", [*SHAPES, "avocado"])
@pytest.mark.parametrize("name", MADE)
def test_made_things_take_any_form(name: str, form: str) -> None:
    thing = item(name, "made", 0.5, colour="orange", form=form)
    scene = alone(thing)
    (mask,) = render_masks(scene)
    pixels = [nearest(tuple(p)) for p in render(scene)[mask].tolist()]
    assert pixels.count("orange") >= 0.12 * len(pixels)
    usual = render_masks(alone(Item(name, "made", thing.box, colour="orange")))[0]
    if (name, form) not in USUAL_FORMS:
        assert (mask != usual).sum() >= 10


def test_a_pencil_sketch_is_grey_and_shows_its_subject() -> None:
    scene = Scene(MIXED.pattern, MIXED.items, place="meadow", style="pencil sketch", noise=7)
    picture = render(scene).astype(int)
    assert (picture.max(-1) - picture.min(-1)).max() <= 16
    paper = np.asarray(picture[2, 2])
    for mask in render_masks(scene):
        assert (np.abs(picture[mask] - paper).max(-1) > 60).mean() > 0.08


def test_a_pair_repeats_the_upper_half_below() -> None:
    thing = Item("cat", "sprite", (0.3, 0.04, 0.7, 0.46), artist="noto")
    picture = render(alone(thing, lower_style="pencil sketch"))
    assert (picture[:32] == render(alone(thing))[:32]).all()
    lower = picture[32:].astype(int)
    assert (lower.max(-1) - lower.min(-1)).max() <= 16 and (lower.min(-1) < 160).sum() > 20


@pytest.mark.parametrize(
    ("scene", "word"),
    [
        (alone(Item("blob", "shape", (0.2, 0.2, 0.8, 0.8), colour="red")), "blob"),
        (alone(Item("circle", "shape", (0.2, 0.2, 0.8, 0.8), colour="mauve")), "mauve"),
        (Scene("empty", (), place="Atlantis"), "Atlantis"),
        (Scene("empty", (), style="cubist"), "cubist"),
    ],
)
def test_what_the_world_lacks_is_named(scene: Scene, word: str) -> None:
    with pytest.raises(DataError, match=word):
        render(scene)


@pytest.mark.parametrize("size", [0, 7, 5000])
def test_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match="8 to 2048"):
        render(MIXED, size)

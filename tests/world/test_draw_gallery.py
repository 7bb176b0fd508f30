"""What the gallery adds to the drawing: tutus, cross-sections, things made of others, leashes, straws and jugs."""

from __future__ import annotations

import numpy as np
import pytest

from pinxit.errors import DataError
from pinxit.world import roles
from pinxit.world.compose import compose
from pinxit.world.dice import Dice
from pinxit.world.draw import item_aspect, render, render_masks
from pinxit.world.draw.builds import BUILDS
from pinxit.world.draw.cuts import CUTS
from pinxit.world.draw.depth import depth, disc, opened
from pinxit.world.draw.outfits import GARMENTS
from pinxit.world.draw.sprites import mean_colour
from pinxit.world.draw.styles import STYLES
from pinxit.world.expectations import demand, satisfied, stands_so
from pinxit.world.pack import Pack
from pinxit.world.plan import Part, ScenePlan
from pinxit.world.scene import Item, Relation, RelationName, Scene
from pinxit.world.vocabulary import lexicon
from tests.world.shares import share

MIDDLE = (0.25, 0.25, 0.75, 0.75)
ACTS: tuple[RelationName, ...] = ("walking", "drinking", "making")
CASTS = {"walking": ("penguin", "dog"), "drinking": ("teddy bear", "cup of tea"), "making": ("panda", "cup of coffee")}


def sprite(name: str, **more: object) -> Item:
    return Item(name, "sprite", MIDDLE, artist=Pack.open().things[name].artists[0], **more)  # type: ignore[arg-type]


def scene(*items: Item, **more: object) -> Scene:
    return Scene("test", items, **more)  # type: ignore[arg-type]


def acted(relation: RelationName, seed: int = 0) -> Scene:
    """A scene of two in this relation, laid out by the composer."""
    one, other = (Part(name, "sprite") for name in CASTS[relation])
    plan = ScenePlan(relation, (one, other), (relation,))
    found = (compose(plan, Dice("test", seed, k), lexicon("gallery")) for k in range(100))
    return next(made for made in found if made is not None)


@pytest.mark.parametrize(("colour", "seen"), [("", "pink"), ("blue", "blue"), ("green", "green")])
def test_a_tutu_is_pink_unless_another_colour_is_said(colour: str, seen: str) -> None:
    dressed = render(scene(sprite("penguin", outfit=((colour, "tutu"),))), 128)
    assert share(dressed, seen) > 0.04 > share(render(scene(sprite("penguin"))), seen)


def test_only_a_tutu_has_a_usual_colour() -> None:
    with pytest.raises(DataError, match="not one of the world's colours"):
        render(scene(sprite("penguin", outfit=(("", "hat"),))))


@pytest.mark.parametrize("name", ["person", "pineapple", "penguin"])
def test_a_tutu_flares_beyond_the_body(name: str) -> None:
    artist = Pack.open().things[name].artists[0]
    bare, dressed = (item_aspect(name, "sprite", None, artist, outfit) for outfit in ((), (("", "tutu"),)))
    assert dressed > 1.1 * bare


@pytest.mark.parametrize("name", [name for name, build in BUILDS.items() if build.turn])
def test_what_grows_aslant_stands_on_its_tip_when_dressed(name: str) -> None:
    for artist in Pack.open().things[name].artists:
        mask = render_masks(scene(Item(name, "sprite", MIDDLE, artist=artist, outfit=(("red", "hat"),))), 128)[0]
        foot = np.flatnonzero(mask[94])
        assert abs(foot.mean() - 64) < 16 and len(foot) < 16, artist


def test_a_person_in_a_blue_shirt_and_black_trousers_keeps_bare_hands() -> None:
    outfit = (("blue", "shirt"), ("black", "trousers"))
    for artist in Pack.open().things["person"].artists:
        aspect = item_aspect("person", "sprite", None, artist, outfit)
        box = (0.5 - 0.45 * aspect, 0.05, 0.5 + 0.45 * aspect, 0.95)
        picture = render(scene(Item("person", "sprite", box, artist=artist, outfit=outfit)), 128)
        column = picture[:, 62:67]
        rows = {c: np.mean([y for y, row in enumerate(column) if share(row, c) > 0.5]) for c in ("blue", "black")}
        assert rows["blue"] < 64 < rows["black"]
        assert share(picture[60:76], "yellow") + share(picture[60:76], "orange") > 0.01


def test_every_garment_that_is_spoken_of_is_drawn_and_fits_who_wears_it() -> None:
    assert set(roles.GARMENTS) == set(GARMENTS)
    words = lexicon("gallery")
    for name in roles.cast(roles.wearers(), words):
        for garment in roles.wardrobe(name):
            for artist in words.nouns[name].artists:
                dressed = render(scene(Item(name, "sprite", MIDDLE, artist=artist, outfit=(("purple", garment),))))
                assert (dressed != render(scene(Item(name, "sprite", MIDDLE, artist=artist)))).any(), (name, garment)


@pytest.mark.parametrize("name", CUTS)
def test_a_cross_section_keeps_the_rind_and_shows_what_is_within(name: str) -> None:
    for artist in Pack.open().things[name].artists:
        thing = scene(Item(name, "sprite", MIDDLE, artist=artist))
        cut = scene(*thing.items, view="cross-section")
        (mask,) = render_masks(thing, 128)
        assert (render_masks(cut, 128)[0] != mask).sum() <= 0.01 * mask.sum()
        rim = mask & (depth(mask) <= 1)
        change = np.abs(render(cut, 128).astype(int) - render(thing, 128)).max(-1)
        assert np.median(change[rim]) <= 8 and (change[mask] > 24).mean() > 0.15, artist


def test_a_walnut_shows_a_pale_kernel_in_two_halves() -> None:
    cut = render(scene(sprite("walnut"), view="cross-section"), 128).astype(int).mean(-1)
    left, seam, right = (cut[60:68, x - 2 : x + 3].mean() for x in (52, 64, 76))
    assert min(left, right) > seam + 60


@pytest.mark.parametrize(
    ("thing", "view", "word"),
    [
        (sprite("dog"), "cross-section", "cannot cut a dog open"),
        (Item("cube", "solid", MIDDLE, colour="red"), "cross-section", "cube cannot be cut open"),
        (Item("cube", "solid", MIDDLE, colour="red", material="harp"), None, "cannot be made of a harp"),
        (sprite("snail", material="moonlight"), None, "moonlight"),
        (sprite("snail", material="harp", colour="red"), None, "cannot be red"),
        (sprite("snail", material="harp", outfit=(("red", "hat"),)), None, "one of these at a time"),
    ],
)
def test_what_cannot_be_drawn_is_refused(thing: Item, view: str | None, word: str) -> None:
    with pytest.raises(DataError, match=word):
        render(scene(thing, view=view))


@pytest.mark.parametrize("material", ["harp", "kiwi", "telephone"])
@pytest.mark.parametrize("name", ["snail", "elephant", "house"])
def test_a_thing_made_of_another_has_its_own_outline_and_the_others_colour(name: str, material: str) -> None:
    artist = Pack.open().things[name].artists[0]
    made, bare = sprite(name, material=material), sprite(name)
    (mask,) = render_masks(scene(made), 128)
    assert (mask != render_masks(scene(bare), 128)[0]).sum() <= 0.01 * mask.sum()
    known = artist if artist in Pack.open().things[material].artists else None
    rim = mask & (depth(mask) > 2) & (depth(mask) < 5)
    seen = render(scene(made), 128)[rim].mean(0)
    assert np.abs(seen - mean_colour(material, known)).max() < 48


def test_the_material_is_pictured_on_the_body() -> None:
    harp, violin = (render(scene(sprite("snail", material=m)), 128).astype(int) for m in ("harp", "violin"))
    (mask,) = render_masks(scene(sprite("snail")), 128)
    x, y, radius = (round(value) for value in disc(depth(mask)))
    part = np.abs(harp - violin)[y - radius // 2 : y + radius // 2, x - radius // 2 : x + radius // 2]
    assert (part.max(-1) > 60).mean() > 0.15


@pytest.mark.parametrize("relation", ACTS)
def test_what_joins_two_is_seen_between_them_and_is_part_of_neither(relation: RelationName) -> None:
    joined = acted(relation)
    apart = Scene(joined.pattern, joined.items, noise=joined.noise)
    change = np.abs(render(joined).astype(int) - render(apart)).max(-1) > 60
    assert change.sum() >= 8
    x0, x1 = (min(i.box[0] for i in joined.items), max(i.box[2] for i in joined.items))
    assert not change[:, : int(64 * x0) - 1].any() and not change[:, int(64 * x1) + 2 :].any()
    for one, other in zip(render_masks(joined), render_masks(apart), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("style", STYLES)
def test_a_leash_is_seen_in_every_style(style: str) -> None:
    walk = acted("walking")
    drawn = render(Scene("test", walk.items, walk.relations, style=style)).astype(int)
    assert (np.abs(drawn - render(Scene("test", walk.items, style=style))).max(-1) > 40).sum() >= 6


@pytest.mark.parametrize("relation", ACTS)
def test_layouts_are_what_a_judge_by_boxes_asks_for(relation: RelationName) -> None:
    for seed in range(60):
        made = acted(relation, seed)
        assert satisfied(made, demand(made))
        one, other = (item.box for item in made.items)
        assert [name for name in ACTS if stands_so(one, name, other)] == [relation]


def test_neither_the_wrong_way_round_nor_far_apart_is_drinking() -> None:
    bear, cup = (0.2, 0.2, 0.7, 0.9), (0.6, 0.4, 0.85, 0.65)
    assert stands_so(bear, "drinking", cup) and not stands_so(cup, "drinking", bear)
    assert not stands_so(bear, "drinking", (0.8, 0.4, 0.98, 0.65))
    assert not stands_so(bear, "walking", (0.75, 0.1, 0.95, 0.3)) and stands_so(bear, "walking", (0.75, 0.6, 0.98, 0.9))


@pytest.mark.parametrize(("relation", "who"), [("walking", 1), ("drinking", 0), ("making", 0)])
def test_who_drinks_or_is_led_looks_at_the_other(relation: RelationName, who: int) -> None:
    flips = set()
    for seed in range(12):
        one, other = acted(relation, seed).items[who], acted(relation, seed).items[1 - who]
        assert one.flip == (one.box[0] + one.box[2] < other.box[0] + other.box[2])
        flips.add(one.flip)
    assert flips == {False, True}


def test_the_drink_is_nearer_than_who_drinks_it() -> None:
    for relation in ("drinking", "making"):
        drinker, drink = acted(relation).items
        assert drink.depth > drinker.depth


def test_an_upright_mount_keeps_its_head() -> None:
    """A horse on an astronaut's shoulders hides little of the helmet."""
    plan = ScenePlan("riding", (Part("horse", "sprite"), Part("astronaut", "sprite")), ("riding",))
    for k in range(30):
        made = compose(plan, Dice("test", k), lexicon("gallery"))
        if made is not None:
            rider, mount = made.items
            assert rider.box[3] - mount.box[1] <= 0.22 * (mount.box[3] - mount.box[1])


def test_no_leash_without_a_relation_to_show() -> None:
    dog, cat = sprite("dog"), sprite("cat")
    beside = Scene("test", (dog, cat), (Relation(0, "left of", 1),))
    assert (render(beside) == render(Scene("test", (dog, cat)))).all()


def test_depths_are_exact() -> None:
    mask = np.random.default_rng(0).random((24, 31)) < 0.8
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    for y, x in np.ndindex(mask.shape):
        nearest_one = np.sqrt(((outside - (y, x)) ** 2).sum(1).min())
        assert depth(mask)[y, x] == pytest.approx(nearest_one)


def test_opening_takes_off_a_stalk_and_leaves_the_body() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:50, 15:45] = True
    mask[2:20, 28:32] = True
    body = opened(mask, 7.0)
    assert not body[:17].any() and body[25:45, 20:40].all() and not (body & ~mask).any()
    assert disc(depth(mask)) == pytest.approx((30, 35, 15), abs=1)


def test_everything_in_a_role_can_play_it() -> None:
    assert set(roles.CUT_OPEN) <= set(CUTS)
    words = lexicon("gallery")
    for part in (roles.BODIES, roles.MATERIALS, roles.LED, roles.LEADERS, roles.DRINKERS, roles.MAKERS, roles.DRINKS):
        assert set(part) <= set(words.nouns)

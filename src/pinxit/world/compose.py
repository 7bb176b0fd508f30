"""From a plan to a scene: the sprite of each thing, its place, and what captions leave open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from pinxit.world import layout, layout_acting, layout_full
from pinxit.world.contrast import sprite_stands_out
from pinxit.world.dice import Dice
from pinxit.world.draw import item_aspect
from pinxit.world.layout import Rect
from pinxit.world.plan import Part, ScenePlan
from pinxit.world.roles import SINK
from pinxit.world.scene import Item, Relation, Scene
from pinxit.world.vocabulary import HORIZON, Lexicon

aspect = cache(item_aspect)  # a sprite's is measured on its pixels


def compose(plan: ScenePlan, dice: Dice, words: Lexicon) -> Scene | None:
    """A scene of this meaning, or None when the sprites chosen by `dice` cannot be laid out recognisably."""
    able = [_artists(part, plan, words) for part in plan.parts]
    if not all(able):
        return None
    artists = [dice.pick(choice) for choice in able]
    noise = dice.below(2**31)
    aspects = [aspect(p.name, p.kind, p.form, a, _cut(p)) for p, a in zip(plan.parts, artists, strict=True)]
    rects = arrange(plan, dice, aspects)
    if rects is None:
        return None
    if plan.place in HORIZON:
        rects = layout.lowered(dice, rects)
    members = [(p, a) for p, a in zip(plan.parts, artists, strict=True) for _ in range(p.count)]
    items = tuple(
        _item(part, artist, rect, depth, dice)
        for (part, artist), rect, depth in zip(members, rects, depths(plan, len(members)), strict=True)
    )
    return Scene(
        pattern=plan.pattern,
        items=facing(items, plan.relations),
        relations=tuple(Relation(i, name, i + 1) for i, name in enumerate(plan.relations)),
        place=plan.place,
        light=plan.light,
        style=plan.style,
        view=plan.view,
        lower_style=plan.lower_style,
        noise=noise,
    )


MEETING: dict[tuple[str, ...], Callable[[Dice, list[float]], list[Rect] | None]] = {
    ("inside",): layout_full.inside,
    ("behind",): layout_full.behind,
    ("riding",): layout_full.riding,
    ("walking",): layout_acting.walking,
    ("drinking",): layout_acting.drinking,
    ("making",): layout_acting.making,
    ("riding", "left of", "riding"): layout_full.two_riding,
}


TURNED: dict[str, int] = {"walking": 1, "drinking": 0, "making": 0}  # which of a pair faces the other


def facing(items: tuple[Item, ...], relations: tuple[str, ...]) -> tuple[Item, ...]:
    """Flip the sprite that must face the other (a drinker its drink, a dog its leader); unflipped ones look left."""
    if len(relations) != 1 or relations[0] not in TURNED:
        return items
    who = TURNED[relations[0]]
    one, other = items[who], items[1 - who]
    right = one.box[0] + one.box[2] < other.box[0] + other.box[2]
    return tuple(replace(item, flip=right) if k == who else item for k, item in enumerate(items))


BEHIND = ("behind", "drinking", "making")  # the subject stands behind the object


def depths(plan: ScenePlan, count: int) -> list[int]:
    """Depths for the painter's algorithm: a subject of a relation in `BEHIND` is drawn before its object, any other
    subject after it."""
    if not plan.relations:
        return list(range(count))
    heights = [0]
    for relation in reversed(plan.relations):
        heights.append(heights[-1] + (-1 if relation in BEHIND else 1))
    lowest = min(heights)
    return [height - lowest for height in reversed(heights)]


def _cut(part: Part) -> tuple[tuple[str, str], ...]:
    """The part's clothes in one colour: their colours do not change its proportions."""
    return tuple(("red", garment) for _, garment in part.outfit)


@cache
def _seen(name: str, place: str, artists: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(artist for artist in artists if sprite_stands_out(name, artist, place))


def _artists(part: Part, plan: ScenePlan, words: Lexicon) -> tuple[str | None, ...]:
    """The artists whose sprite of this part stands out against the ground; (None,) for things drawn in code."""
    if part.kind != "sprite":
        return (None,)
    drawn = words.nouns[part.name].artists
    return drawn if part.colour or part.material or not plan.grounded else _seen(part.name, plan.place, drawn)


def arrange(plan: ScenePlan, dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """Rectangles for every member of every part, in order."""
    first = plan.parts[0]
    if plan.lower_style is not None:
        return layout.upper_half(dice, aspects[0])
    if plan.view is not None:
        return layout_full.viewed(dice, aspects[0], plan.view)
    if len(plan.parts) == 1:
        if first.count > 1:
            return layout.counted(dice, aspects[0], first.count)
        return layout.alone(dice, aspects[0], first.size, *_legible(first))
    meeting = MEETING.get(plan.relations)
    if meeting is not None:
        return meeting(dice, aspects)
    sizes = [part.size for part in plan.parts]
    if set(plan.relations) == {"on top of"}:
        return layout.stacked(dice, aspects, sizes, [SINK.get(part.name, 0.0) for part in plan.parts])
    return _beside(plan, dice, aspects)


def _legible(part: Part) -> tuple[int, int]:
    """Least and most size of a single object, in 64ths: words, clothes and materials need a large one to be seen."""
    if part.words:
        return 50, 59
    return (44, 56) if part.outfit or part.material else (26, 46)


def _beside(plan: ScenePlan, dice: Dice, aspects: list[float]) -> list[Rect] | None:
    """Two parts left and right of, or above and below, each other."""
    relation = plan.relations[0]
    flip = relation in ("right of", "below")
    order = (1, 0) if flip else (0, 1)
    sizes = (plan.parts[order[0]].size, plan.parts[order[1]].size)
    if relation in ("left of", "right of"):
        rects = layout.side_by_side(dice, (aspects[order[0]], aspects[order[1]]), sizes)
    else:
        turned = (1 / aspects[order[0]], 1 / aspects[order[1]])
        rects = layout.transposed(layout.side_by_side(dice, turned, sizes))
    return rects and (rects[::-1] if flip else rects)


def _item(part: Part, artist: str | None, rect: Rect, depth: int, dice: Dice) -> Item:
    return Item(
        name=part.name,
        kind=part.kind,
        box=rect.box,
        depth=depth,
        colour=part.colour,
        size=part.size,
        artist=artist,
        form=part.form,
        material=part.material,
        outfit=part.outfit,
        words=part.words,
        flip=part.kind == "sprite" and dice.chance(0.5),
    )

"""Hard neighbours: scenes that differ from a base scene in exactly one stated fact.

A model that sees them side by side in one batch must read colours, counts, sizes and positions, not only names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pinxit.world.compose import compose
from pinxit.world.dice import Dice
from pinxit.world.expectations import expected_of, satisfied
from pinxit.world.ingredients import sound
from pinxit.world.layout_neighbours import layout_neighbours
from pinxit.world.plan import INVERSE, Part, ScenePlan
from pinxit.world.roles import (
    BODIES,
    CONTAINERS,
    CUT_OPEN,
    DRINKERS,
    DRINKS,
    GARMENTS,
    LEADERS,
    LED,
    MAKERS,
    MATERIALS,
    RIDDEN,
    RIDERS,
    SIGN_WORDS,
    WRITTEN,
    cast,
    shapely,
    wardrobe,
    wearers,
)
from pinxit.world.scene import Scene, garment_colour
from pinxit.world.sign_words import misspelled
from pinxit.world.splits import Split, belongs
from pinxit.world.vocabulary import COLOURS, FORMS, LIGHTS, MOST, VIEWS, Lexicon, apart


def neighbours(
    base: Scene, plan: ScenePlan, words: Lexicon, split: Split, dice: Dice, count: int = 3, detail: bool = False
) -> list[Scene] | None:
    """`count` scenes of the same split, each with one stated fact changed; None when there are not that many.

    They get layouts of their own. The plainest caption of each is false for the base scene, and vice versa; with
    `detail` some differ only in the ground or in where things are (`layout_neighbours.py`), which only rich captions
    mention.
    """
    scenes = layout_neighbours(base, plan, words, split, dice)[: count - 1] if detail else []
    met: set[ScenePlan] = set()
    for changed in _in_turn(plan, words, dice):
        if _one_way(changed) in met or not (sound(changed) and belongs(changed, split)):
            continue
        if satisfied(base, expected_of(changed)):
            continue
        met.add(_one_way(changed))
        scene = compose(changed, dice, words)
        if scene is not None and not satisfied(scene, expected_of(plan)):
            scenes.append(scene)
        if len(scenes) == count:
            return scenes
    return None


def _one_way(plan: ScenePlan) -> ScenePlan:
    """Never right of or below: what says the same, a red cube left of a blue one or that one right of it, is equal."""
    if len(plan.parts) != 2 or plan.relations[0] not in ("right of", "below"):
        return plan
    return replace(plan, parts=plan.parts[::-1], relations=(INVERSE[plan.relations[0]],))


def _in_turn(plan: ScenePlan, words: Lexicon, dice: Dice) -> Iterator[ScenePlan]:
    """Changed plans of every kind in turn, so that three neighbours differ in different ways where possible."""
    kinds = [dice.shuffled(kind) for kind in dice.shuffled(changes(plan, words))]
    while any(kinds):
        for kind in kinds:
            if kind:
                yield kind.pop()


def changes(plan: ScenePlan, words: Lexicon) -> list[list[ScenePlan]]:
    """Every plan that differs from this one in one stated fact, by the kind of change."""
    return [
        _swapped(plan),
        _mirrored(plan),
        _recoloured(plan),
        _recounted(plan, words),
        _renamed(plan, words),
        _resized(plan),
        _reformed(plan, words),
        _restyled(plan, words),
        _reworded(plan),
        _redressed(plan) + _remade(plan, words),
    ]


def _with(plan: ScenePlan, index: int, part: Part) -> ScenePlan:
    return replace(plan, parts=(*plan.parts[:index], part, *plan.parts[index + 1 :]))


def _swapped(plan: ScenePlan) -> list[ScenePlan]:
    """Two parts exchange their colours."""
    if len(plan.parts) != 2 or None in (plan.parts[0].colour, plan.parts[1].colour):
        return []
    one, other = plan.parts
    if one.colour == other.colour:
        return []
    return [replace(plan, parts=(replace(one, colour=other.colour), replace(other, colour=one.colour)))]


def _mirrored(plan: ScenePlan) -> list[ScenePlan]:
    """Two parts exchange their places."""
    if not plan.mentions_relations or len(plan.parts) != 2 or plan.relations[0] in ("drinking", "making"):
        return []
    if plan.relations[0] in INVERSE:
        return [replace(plan, relations=(INVERSE[plan.relations[0]],))]
    one, other = plan.parts  # each keeps the size of its place, or the size would be a second change
    return [replace(plan, parts=(replace(other, size=one.size), replace(one, size=other.size)))]


def _recoloured(plan: ScenePlan) -> list[ScenePlan]:
    return [
        _with(plan, i, replace(part, colour=colour))
        for i, part in enumerate(plan.parts)
        if part.colour is not None
        for colour in COLOURS
        if colour != part.colour
    ]


def _recounted(plan: ScenePlan, words: Lexicon) -> list[ScenePlan]:
    part = plan.parts[0]
    if plan.pattern != "counting":
        return []
    return [
        _with(plan, 0, replace(part, count=n)) for n in (part.count - 1, part.count + 1) if 2 <= n <= MOST[words.preset]
    ]


def _renamed(plan: ScenePlan, words: Lexicon) -> list[ScenePlan]:
    """Another thing instead of one part."""
    return [
        _with(plan, i, replace(part, name=name))
        for i, part in enumerate(plan.parts)
        for name in _instead(plan, i, words)
        if name != part.name
    ]


_ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "riding": (RIDERS, RIDDEN),
    "walking": (LEADERS, LED),
    "drinking": (DRINKERS, DRINKS),
    "making": (MAKERS, DRINKS),
    "outfit": (wearers(),),
    "words": (WRITTEN,),
    "made_of": (BODIES,),
    "cross-section": (CUT_OPEN,),
}


def _instead(plan: ScenePlan, index: int, words: Lexicon) -> tuple[str, ...]:
    """The names that may replace a part."""
    part = plan.parts[index]
    roles = _ROLES.get(plan.view or plan.pattern)
    if roles:
        names = cast(roles[index % len(roles)], words)
        worn = {garment for _, garment in part.outfit}
        return tuple(name for name in names if worn <= set(wardrobe(name)) and (not worn or name in wearers()))
    if plan.pattern == "inside" and index == 1:
        return CONTAINERS
    kinds = {"sprite": words.sprites, "shape": words.shapes, "solid": words.solids, "made": words.made}
    return kinds[part.kind]


def _resized(plan: ScenePlan) -> list[ScenePlan]:
    """Small becomes big and big becomes small, everywhere."""
    if not any(part.size for part in plan.parts):
        return []
    other = {"small": "big", "big": "small", None: None}
    return [replace(plan, parts=tuple(replace(p, size=other[p.size]) for p in plan.parts))]  # type: ignore[arg-type]


def _reformed(plan: ScenePlan, words: Lexicon) -> list[ScenePlan]:
    """Another form: among the flat outlines, or among the things whose form others may take."""
    return [
        _with(plan, i, replace(part, form=form))
        for i, part in enumerate(plan.parts)
        if part.form is not None
        for form in (FORMS if part.form in FORMS else shapely(words))
        if form != part.form
    ]


def _restyled(plan: ScenePlan, words: Lexicon) -> list[ScenePlan]:
    """Another style, view or light."""
    changed = [replace(plan, style=style) for style in words.styles if plan.style not in (None, style)]
    changed += [replace(plan, lower_style=below) for below in words.styles if plan.lower_style not in (None, below)]
    changed += [replace(plan, view=view) for view in VIEWS if plan.view not in (None, view)]
    return changed + [replace(plan, light=light) for light in LIGHTS if plan.light not in (None, light)]


def _reworded(plan: ScenePlan) -> list[ScenePlan]:
    part = plan.parts[0]
    if part.words is None:
        return []
    near = misspelled(part.words)
    return [_with(plan, 0, replace(part, words=word)) for word in (*near, *SIGN_WORDS) if word != part.words]


def _remade(plan: ScenePlan, words: Lexicon) -> list[ScenePlan]:
    """Made of something else."""
    part = plan.parts[0]
    if part.material is None:
        return []
    others = (name for name in cast(MATERIALS, words) if name not in (part.material, part.name))
    return [_with(plan, 0, replace(part, material=name)) for name in others]


def _redressed(plan: ScenePlan) -> list[ScenePlan]:
    """One garment in another colour, or another garment of that colour."""
    part = plan.parts[0]
    worn = {garment for _, garment in part.outfit}
    others = [
        _with(plan, 0, replace(part, outfit=_sorted((*part.outfit[:i], (colour, garment), *part.outfit[i + 1 :]))))
        for i, (colour, _) in enumerate(part.outfit)
        for garment in wardrobe(part.name)
        if colour and garment not in worn and not {"tutu", "trousers"} <= {garment, *worn}
    ]
    return others + [
        _with(plan, 0, replace(part, outfit=(*part.outfit[:i], (colour, garment), *part.outfit[i + 1 :])))
        for i, (before, garment) in enumerate(part.outfit)
        for colour in COLOURS
        if all(apart(colour, garment_colour(*other)) for k, other in enumerate(part.outfit) if k != i)
        and colour != garment_colour(before, garment)
    ]


def _sorted(outfit: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """In the order in which outfits are mentioned."""
    return tuple(sorted(outfit, key=lambda worn: list(GARMENTS).index(worn[1])))

"""Loss masks for combinations that the train split holds out, so that a judge does not learn that they are wrong.

The train split has no gray circle, no pentagonal clock. A detector trained on it to answer "not a circle" for every
gray object learns that rule instead of what a circle is, and then fails on true pictures of split `unseen`. So an
answer that the split rules out for a picture or an object is masked in the loss: neither right nor wrong. Where only
a few objects show an answer, as with materials, masks are not enough: the gallery's judge is trained on all
combinations instead (`hard_scenes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations as two_of
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pinxit.models.detector import DetectorConfig
from pinxit.world.plan import INVERSE, ScenePlan, meaning
from pinxit.world.scene import Item, Scene
from pinxit.world.splits import Combination, held_out

Flags = NDArray[np.bool_]
BLANK = "?"  # placeholder for a name in a combination


def names_unshown(scene: Scene, config: DetectorConfig) -> Flags:
    """For each name whether the split keeps it out of a picture like this one, bool [names].

    False for the names of the scene's own items.
    """
    flags = np.zeros(len(config.names), np.bool_)
    for combination in _contexts(meaning(scene)):
        flags |= _kept_out(config.names, combination)
    for item in scene.items:
        flags[config.names.index(item.name)] = False
    return flags


def answers_unshown(item: Item, style: str | None, lower: bool, config: DetectorConfig) -> Flags:
    """For each colour, form and style (in this order, the plain style included) whether the split rules it out for an
    item; bool [colours + forms + 1 + styles]. `lower`: the item is in the lower half of a pair."""
    name, colour, form = item.name, item.colour, item.form
    kind = "lower style" if lower else "style"
    colours = [held_out(("colour", c, name)) or _made(c, form, name) for c in config.colours]
    made = item.kind == "made"
    forms = [made and (held_out(("form", f, name)) or _made(colour or "", f, name)) for f in config.forms]
    styles = [False, *(held_out((kind, s, name)) for s in config.styles)]
    for flags, words, truth in ((colours, config.colours, colour), (forms, config.forms, form)):
        if truth in words:
            flags[words.index(truth)] = False
    if style in config.styles:
        styles[1 + config.styles.index(style)] = False
    return np.array([*colours, *forms, *styles], np.bool_)


def places_unshown(scene: Scene, config: DetectorConfig) -> Flags:
    """For each ground whether the split keeps one of the scene's things from it, bool [places]."""
    names = {item.name for item in scene.items}
    return np.array(
        [p not in ("white", scene.place) and any(held_out(("place", p, n)) for n in names) for p in config.places],
        np.bool_,
    )


def settings_unshown(scene: Scene, config: DetectorConfig) -> tuple[Flags, Flags]:
    """For each view, and for each light, whether the split keeps one of the scene's things from it; bool [1 + views]
    and [1 + lights], the usual ones first."""
    names = {item.name for item in scene.items}

    def ruled_out(kind: str, words: tuple[str, ...], truth: str | None) -> Flags:
        flags = [w != truth and any(held_out((kind, w, n)) for n in names) for w in words]
        return np.array([False, *flags], np.bool_)

    return ruled_out("view", config.views, scene.view), ruled_out("light", config.lights, scene.light)


def materials_unshown(item: Item, config: DetectorConfig) -> Flags:
    """For each material whether the split rules it out for an item; bool [1 + materials], its own first."""
    flags = [m != item.material and _of_material(m, item.name) for m in config.materials]
    return np.array([False, *flags], np.bool_)


def garments_unshown(item: Item, config: DetectorConfig) -> tuple[Flags, Flags]:
    """Whether the split rules out that an item wears each garment, bool [garments], or wears it in each colour, bool
    [garments, colours]."""
    worn = {garment: colour for colour, garment in item.outfit}
    undressed = held_out(("dressed", item.name))
    none = [
        g not in worn
        and (undressed or any(held_out(c) for c in (("garment", g, item.name), ("wearing", "", g, item.name))))
        for g in config.garments
    ]
    colours = [
        [c != worn.get(g) and held_out(("wearing", c, g, item.name)) for c in config.colours] for g in config.garments
    ]
    return np.array(none, np.bool_), np.array(colours, np.bool_).reshape(len(config.garments), len(config.colours))


def links_unshown(scene: Scene, config: DetectorConfig) -> Flags:
    """Relations between the items that the split rules out, bool [items, 2, links]: as subject, and as object."""
    flags = np.zeros((len(scene.items), 2, len(config.links)), np.bool_)
    for k, link in enumerate(config.links):
        for i, j in permutations(range(len(scene.items)), 2):
            if held_out(("relation", scene.items[i].name, link, scene.items[j].name)):
                flags[i, 0, k] = flags[j, 1, k] = True
    for relation in scene.relations:
        if relation.name in config.links:
            k = config.links.index(relation.name)
            flags[relation.subject, 0, k] = flags[relation.object, 1, k] = False
    return flags


def _of_material(material: str, name: str) -> bool:
    return held_out(("material", material, name)) or held_out(("pair", *sorted((material, name))))


def _made(colour: str, form: str | None, name: str) -> bool:
    return form is not None and held_out(("made", colour, form, name))


def _contexts(plan: ScenePlan) -> Iterator[Combination]:
    """Every combination of the plan, with `BLANK` for one of its names."""
    settings = (
        ("place", None if plan.place == "white" else plan.place),
        ("style", plan.style),
        ("lower style", plan.lower_style),
        ("view", plan.view),
        ("light", plan.light),
    )
    yield from ((kind, value, BLANK) for kind, value in settings if value is not None)
    for part in plan.parts:
        if part.colour is not None:
            yield "colour", part.colour, BLANK
        if part.form is not None:
            yield "form", part.form, BLANK
        if part.count > 1:
            yield "count", str(part.count), BLANK
        if part.outfit:
            yield "dressed", BLANK
            yield from (("garment", garment, BLANK) for _, garment in part.outfit)
            yield from (("wearing", colour, garment, BLANK) for colour, garment in part.outfit)
        if part.material is not None:
            yield from (("material", part.material, BLANK), ("pair", BLANK, part.material))
    for one, other in two_of(plan.parts, 2):
        yield from (("pair", BLANK, one.name), ("pair", BLANK, other.name))
    for one, relation, other in zip(plan.parts, plan.relations, plan.parts[1:], strict=False):
        if relation in ("right of", "below"):
            one, relation, other = other, INVERSE[relation], one
        yield from (("relation", BLANK, relation, other.name), ("relation", one.name, relation, BLANK))


@cache
def _kept_out(names: tuple[str, ...], combination: Combination) -> Flags:
    """For each name whether the combination is held out with this name for `BLANK`."""
    return np.array([held_out(_filled(combination, name)) for name in names], np.bool_)


def _filled(combination: Combination, name: str) -> Combination:
    kind, *values = (name if word == BLANK else word for word in combination)
    return (kind, *(sorted(values) if kind == "pair" else values))

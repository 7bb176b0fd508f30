"""What a caption asks for, in a form a judge can check: counts, colours, relations and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinxit.world.plan import Part, ScenePlan, meaning
from pinxit.world.scene import Box, Item, RelationName, Scene


@dataclass(frozen=True, slots=True)
class ExpectedObject:
    """`count` of `name`, in `colour` unless None. `exactly`: more of them would be wrong."""

    name: str
    colour: str | None = None
    count: int = 1
    exactly: bool = False
    form: str | None = None
    size: str | None = None
    words: str | None = None
    material: str | None = None
    outfit: tuple[tuple[str, str], ...] = ()  # (colour, garment): these at least; "": in any colour


@dataclass(frozen=True, slots=True)
class ExpectedRelation:
    """`objects[subject]` has the relation `name` to `objects[object]`."""

    subject: int
    name: RelationName
    object: int


@dataclass(frozen=True, slots=True)
class ExpectedScene:
    """Everything the plainest caption of a scene asks for."""

    objects: tuple[ExpectedObject, ...]
    relations: tuple[ExpectedRelation, ...] = ()
    place: str | None = None
    style: str | None = None
    lower_style: str | None = None
    view: str | None = None
    light: str | None = None


def demand(scene: Scene) -> ExpectedScene:
    """What the plainest caption of this scene asks for."""
    return expected_of(meaning(scene))


def expected_of(plan: ScenePlan) -> ExpectedScene:
    """What the plainest caption of this plan asks for: relations and the ground only where it mentions them."""
    return ExpectedScene(
        objects=tuple(_expected(part, plan.pattern) for part in plan.parts),
        relations=tuple(
            ExpectedRelation(i, name, i + 1) for i, name in enumerate(plan.relations) if plan.mentions_relations
        ),
        place=plan.place if plan.mentions_place else None,
        style=plan.style,
        lower_style=plan.lower_style,
        view=plan.view,
        light=plan.light,
    )


def _expected(part: Part, pattern: str) -> ExpectedObject:
    return ExpectedObject(
        name=part.name,
        colour=part.colour,
        count=part.count,
        exactly=pattern == "counting",
        form=part.form,
        size=part.size,
        words=part.words,
        material=part.material,
        outfit=part.outfit,
    )


def stands_so(one: Box, relation: RelationName, other: Box) -> bool:
    """Whether box `one` clearly has the relation to box `other`.

    Left, right, above and below by GenEval's rule: the offset of the centres, shortened by a tenth of the summed sides,
    must point that way with more than half of the centres' distance. "on top of" also needs the edges to meet and the
    boxes to overlap horizontally. "inside" is containment; "behind" and "riding" are overlap (boxes do not say which
    object is nearer), with the rider above. "walking": both are side by side on the same ground, apart. "drinking" and
    "making": the drink is smaller and touches the other, lifted at its side (drinking) or at its foot (making).
    """
    dx, dy = _offset(one, other)
    if relation == "on top of":
        meets = abs(one[3] - other[1]) <= 0.25 * (other[3] - other[1])
        return dy < -0.5 and meets and min(one[2], other[2]) > max(one[0], other[0])
    if relation == "inside":
        return one[0] > other[0] and one[1] > other[1] and one[2] < other[2] and one[3] < other[3]
    if relation in ("behind", "riding"):
        overlap = min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])
        return overlap and (relation == "behind" or dy < 0)
    if relation == "walking":
        beside = abs(dx) > 0.5 and (one[2] <= other[0] or other[2] <= one[0])
        return beside and abs(one[3] - other[3]) <= 0.25 * max(one[3] - one[1], other[3] - other[1])
    if relation in ("drinking", "making"):
        return _served(one, other, at_foot=relation == "making")
    return {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}[relation]


_TOUCH = 2 / 64  # boxes no further apart than this touch
_LIFTED = 0.12  # how far a drink is above the drinker's foot at least, as a share of the drinker's height


def _served(one: Box, drink: Box, at_foot: bool) -> bool:
    """Whether the drink is smaller than `one`, touches it, and stands at its foot or else is lifted above it."""
    high, low = one[3] - one[1], drink[3] - drink[1]
    touches = min(one[2], drink[2]) >= max(one[0], drink[0]) - _TOUCH and drink[1] < one[3] and one[1] < drink[3]
    lifted = drink[3] < one[3] - _LIFTED * high
    return touches and lifted != at_foot and low < high


def _offset(one: Box, other: Box) -> tuple[float, float]:
    """From the other's centre to the one's, shortened and divided by its length."""
    dx = (one[0] + one[2] - other[0] - other[2]) / 2
    dy = (one[1] + one[3] - other[1] - other[3]) / 2
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    slack_x = 0.1 * (one[2] - one[0] + other[2] - other[0])
    slack_y = 0.1 * (one[3] - one[1] + other[3] - other[1])
    return _shortened(dx, slack_x) / length, _shortened(dy, slack_y) / length


def _shortened(value: float, slack: float) -> float:
    return max(abs(value) - slack, 0.0) * (1 if value > 0 else -1)


def satisfied(scene: Scene, expected: ExpectedScene) -> bool:
    """Whether this scene is what was asked for, judged by its facts alone."""
    settings = ("place", "style", "lower_style", "view", "light")
    if any(getattr(expected, name) not in (None, getattr(scene, name)) for name in settings):
        return False
    matching = [[item for item in scene.items if _answers(item, want)] for want in expected.objects]
    for want, items in zip(expected.objects, matching, strict=True):
        if len(items) < want.count or (want.exactly and len(items) > want.count):
            return False
    return all(_related(matching[r.subject], r.name, matching[r.object]) for r in expected.relations)


def _answers(item: Item, want: ExpectedObject) -> bool:
    facts = ("colour", "form", "size", "words", "material")
    asked = ((getattr(want, fact), getattr(item, fact)) for fact in facts)
    worn = {*item.outfit, *(("", garment) for _, garment in item.outfit)}
    dressed = set(want.outfit) <= worn
    return item.name == want.name and dressed and all(wish is None or wish == given for wish, given in asked)


def _related(ones: Sequence[Item], relation: RelationName, others: Sequence[Item]) -> bool:
    def holds(one: Item, other: Item) -> bool:
        if relation in ("behind", "riding") and (one.depth < other.depth) != (relation == "behind"):
            return False
        return stands_so(one.box, relation, other.box)

    return any(holds(a, b) for a in ones for b in others if a is not b)

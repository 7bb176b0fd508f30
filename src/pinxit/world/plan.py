"""What a scene means, independent of its layout: the parts that a caption mentions, and their relations.

`ScenePlan -> compose -> Scene` and `meaning(Scene) -> ScenePlan` are inverse; grammar, splits and neighbours work on
plans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pinxit.world.scene import Item, Kind, RelationName, Scene

Size = Literal["small", "big"]


@dataclass(frozen=True, slots=True)
class Part:
    """One noun phrase: a thing, or several of the same."""

    name: str
    kind: Kind
    colour: str | None = None
    size: Size | None = None
    form: str | None = None
    count: int = 1
    outfit: tuple[tuple[str, str], ...] = ()
    words: str | None = None
    material: str | None = None


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """One caption's worth of facts. `relations[i]` holds between `parts[i]` and `parts[i + 1]`."""

    pattern: str
    parts: tuple[Part, ...]
    relations: tuple[RelationName, ...] = ()
    place: str = "white"
    light: str | None = None
    style: str | None = None
    view: str | None = None
    lower_style: str | None = None

    @property
    def mentions_relations(self) -> bool:
        """Whether captions mention the relations (in the other patterns they are true but incidental)."""
        return bool(self.relations) and self.pattern not in UNMENTIONED

    @property
    def mentions_place(self) -> bool:
        """Whether the plainest caption mentions the place."""
        return self.pattern in PLACED and self.place != "white"

    @property
    def grounded(self) -> bool:
        """Whether the picture shows the ground unchanged by style or view."""
        return (self.style is None or self.style in GROUNDED_STYLES) and self.view != "fisheye"

    @property
    def may_mention_ground(self) -> bool:
        """Whether captions may mention the ground: where it can be seen, and the white paper of a sketch."""
        return self.grounded or self.style == "pencil sketch"


# Patterns whose parts are only joined by "and": their relation is a fact of the scene that captions leave open.
UNMENTIONED = frozenset({"two_objects", "colour_attribution", "style"})
# Styles that keep the ground as it is; the others draw on their own paper.
GROUNDED_STYLES = frozenset({"watercolour", "pixel art", "folded from paper"})
# Patterns whose plainest caption mentions the place, because it is what they are about.
PLACED = frozenset({"single_object", "style", "light"})

INVERSE: dict[RelationName, RelationName] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}


def meaning(scene: Scene) -> ScenePlan:
    """The plan that this scene is a picture of."""
    relations = tuple(relation.name for relation in sorted(scene.relations, key=lambda r: r.subject))
    parts = [part_of(item) for item in scene.items]
    return ScenePlan(
        pattern=scene.pattern,
        parts=tuple(parts) if relations else _grouped(parts),
        relations=relations,
        place=scene.place,
        light=scene.light,
        style=scene.style,
        view=scene.view,
        lower_style=scene.lower_style,
    )


def part_of(item: Item, count: int = 1) -> Part:
    """What captions may say of one item."""
    return Part(item.name, item.kind, item.colour, item.size, item.form, count, item.outfit, item.words, item.material)


def _grouped(parts: list[Part]) -> tuple[Part, ...]:
    """Equal neighbours counted as one part."""
    counts: dict[Part, int] = {}
    for part in parts:
        counts[part] = counts.get(part, 0) + 1
    return tuple(part if count == 1 else replace(part, count=count) for part, count in counts.items())

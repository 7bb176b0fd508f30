"""What the two grammars share: choosing among the ways to say one plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pinxit.world.plan import INVERSE, ScenePlan
from pinxit.world.scene import RelationName


@dataclass(frozen=True, slots=True)
class Way:
    """A template and the plan whose noun phrases fill it."""

    template: str
    plan: ScenePlan


def ways(plan: ScenePlan, templates: tuple[str, ...], related: Mapping[RelationName, tuple[str, ...]]) -> list[Way]:
    """Every template, and two that tell the relation from its other end: the car is right of the penguin that is left
    of it."""
    result = [Way(template, plan) for template in templates]
    inverse = INVERSE.get(plan.relations[0]) if plan.mentions_relations and len(plan.parts) == 2 else None
    if inverse is not None:
        swapped = ScenePlan(plan.pattern, plan.parts[::-1], (inverse,), plan.place)
        result += [Way(template, swapped) for template in related[inverse][:2]]
    return result


def different(taken: list[str], choice: list[Way], say: Callable[[Way, bool], str], grounded: list[bool]) -> list[str]:
    """One sentence for each member of `grounded`, none of them twice and none already `taken`."""
    result: list[str] = []
    for ground in grounded:
        said = say(choice.pop(), ground)
        while said in taken or said in result:
            said = say(choice.pop(), ground)
        result.append(said)
    return result

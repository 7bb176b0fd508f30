"""What the grammars of both languages share: the templates that can express a plan, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pinxit.world.plan import INVERSE, ScenePlan
from pinxit.world.scene import RelationName


@dataclass(frozen=True, slots=True)
class FilledTemplate:
    """A template and the plan whose noun phrases fill it."""

    template: str
    plan: ScenePlan


class Templates(Protocol):
    """The sentence templates of a language, by pattern, the plainest first: a module such as `english_templates`."""

    ONE: tuple[str, ...]
    MANY: tuple[str, ...]
    AND: tuple[str, ...]
    WRITTEN: tuple[str, ...]
    SAME_NAME: tuple[str, ...]
    RELATED: dict[RelationName, tuple[str, ...]]
    CHAINED: dict[tuple[RelationName, ...], tuple[str, ...]]
    PAIR: tuple[str, ...]
    STYLE_NOUNS: dict[str, tuple[str, str]]
    VIEWED: dict[str, tuple[str, ...]]
    LIT: dict[str, tuple[str, ...]]
    STYLED: dict[str, tuple[str, ...]]


def templates_of(plan: ScenePlan, language: Templates) -> tuple[str, ...]:
    """Every way to say the plan, the plainest first."""
    if plan.lower_style is not None:
        noun, full_noun = language.STYLE_NOUNS[plan.lower_style]
        return tuple(way.replace("{s}", noun).replace("{t}", full_noun) for way in language.PAIR)
    core = _core(plan, language)
    for value, wrappers in ((plan.view, language.VIEWED), (plan.light, language.LIT), (plan.style, language.STYLED)):
        if value is not None:
            core = tuple(wrapper.replace("{}", core[0]) for wrapper in wrappers[value])
    return core


def _core(plan: ScenePlan, language: Templates) -> tuple[str, ...]:
    """The templates for the objects and their relation."""
    first = plan.parts[0]
    if first.words:
        return language.WRITTEN
    if len(plan.parts) == 1:
        return language.ONE if first.count == 1 else language.MANY
    if not plan.mentions_relations:
        return language.AND
    if plan.pattern == "stack" and len({part.name for part in plan.parts}) == 1:
        return language.SAME_NAME
    return language.RELATED[plan.relations[0]] if len(plan.relations) == 1 else language.CHAINED[plan.relations]


def filled_templates(
    plan: ScenePlan, templates: tuple[str, ...], related: Mapping[RelationName, tuple[str, ...]]
) -> list[FilledTemplate]:
    """Every template, and two with the inverse relation: "a car right of a penguin" for a penguin left of a car."""
    result = [FilledTemplate(template, plan) for template in templates]
    inverse = INVERSE.get(plan.relations[0]) if plan.mentions_relations and len(plan.parts) == 2 else None
    if inverse is not None:
        swapped = ScenePlan(plan.pattern, plan.parts[::-1], (inverse,), plan.place)
        result += [FilledTemplate(template, swapped) for template in related[inverse][:2]]
    return result


def different(
    taken: list[str], choice: list[FilledTemplate], say: Callable[[FilledTemplate, bool], str], grounded: list[bool]
) -> list[str]:
    """One sentence for each member of `grounded`, none of them twice and none already `taken`."""
    result: list[str] = []
    for ground in grounded:
        said = say(choice.pop(), ground)
        while said in taken or said in result:
            said = say(choice.pop(), ground)
        result.append(said)
    return result

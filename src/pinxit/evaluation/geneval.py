"""Whether a picture shows what was asked for, by GenEval's rules (Ghosh et al. 2023, section 3).

A judge says what it detects (`Detections`), a caption what is expected (`ExpectedScene`); a picture is right when there
are no complaints. Pure functions: no models, no pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from statistics import fmean

from pinxit.errors import UsageError
from pinxit.functional.boxes import Detection, Detections, area
from pinxit.world.expectations import ExpectedObject, ExpectedRelation, ExpectedScene, stands_so
from pinxit.world.tasks import TASKS
from pinxit.world.vocabulary import FORMS


@dataclass(frozen=True, slots=True)
class ScorerThresholds:
    """The thresholds of the scorer. A size is the root of an object's area, as a share of the picture's side."""

    threshold: float = 0.25  # least confidence of an object (GenEval: 0.3, for another detector)
    counting: float = 0.25  # the same where the number matters
    small: float = 0.36  # largest size of a single "small" object
    big: float = 0.62  # least size of a single "big" object
    ratio: float = 1.2  # least size of a "big" object over that of a "small" one beside it
    close: float = 0.88  # least size of an object in a close-up, where the judge does not report the view
    link: float = 0.5  # least probability that one thing does something to another: the mean of does and undergoes


USUAL = "the usual one"
"""What complaints call a view and a light that have no name."""


def complaints(detections: Detections, expected: ExpectedScene, rules: ScorerThresholds | None = None) -> list[str]:
    """What is wrong with a picture, each in a few words; empty when it shows what was asked for.

    As in GenEval only the highest-scoring `count` objects of a name are examined, each must have the expected
    attributes, and where the number matters one object too many is wrong. Where several phrases share a name ("a
    red cube on top of a green cube") the objects may be assigned to them in any way. Raises UsageError for an
    expectation that this judge cannot check.
    """
    rules = rules or ScorerThresholds()
    unseen = needs(expected) - detections.attributes
    if unseen:
        missing = ", ".join(sorted(unseen))
        raise UsageError(f"this judge does not report {missing}: leave those tasks out or take another.")
    if expected.lower_style is not None:
        return _of_pair(detections, expected, rules)
    examined = _examined(detections.found, expected.objects, rules)
    wrong = _wrong_numbers(detections.found, examined, expected.objects, rules)
    if not wrong:
        assignments = _assignments(examined, expected.objects)
        wrong = min((_of_assignment(chosen, detections, expected, rules) for chosen in assignments), key=len)
    if expected.place is not None and detections.place != expected.place:
        wrong = [*wrong, f"ground is {detections.place or 'unknown'}, not {expected.place}"]
    if expected.light is not None and detections.light != expected.light:
        wrong = [*wrong, f"light is {detections.light or USUAL}, not {expected.light}"]
    return wrong


LINKED = frozenset({"walking", "drinking", "making"})
"""Relations that boxes alone do not show; "riding" and "behind" show in them partly."""


def needs(expected: ExpectedScene) -> frozenset[str]:
    """The attributes that a judge must report besides names, numbers, boxes, colours, flat forms, styles, grounds."""
    asked = {
        "view": expected.view,
        "light": expected.light,
        "words": any(want.words for want in expected.objects),
        "outfit": any(want.outfit for want in expected.objects),
        "material": any(want.material for want in expected.objects),
        "shape": any(want.form not in (None, *FORMS) for want in expected.objects),
        "link": any(relation.name in LINKED for relation in expected.relations),
    }
    return frozenset(name for name, value in asked.items() if value)


def overall(scores: Mapping[str, Sequence[bool]]) -> float:
    """The mean of GenEval's six tasks' means (not of all pictures). Raises UsageError when one of them is missing."""
    missing = [task for task in TASKS if not scores.get(task)]
    if missing:
        raise UsageError(f"the overall score is the mean of six tasks; {', '.join(missing)} has no picture.")
    return fmean(fmean(scores[task]) for task in TASKS)


def _strict(want: ExpectedObject, rules: ScorerThresholds) -> float:
    return rules.counting if want.exactly else rules.threshold


def _named(detections: Sequence[Detection], name: str, least: float) -> list[Detection]:
    """Detections of a name with at least this confidence, the most confident first."""
    return sorted((d for d in detections if d.name == name and d.score >= least), key=lambda d: -d.score)


def _examined(
    detections: Sequence[Detection], objects: Sequence[ExpectedObject], rules: ScorerThresholds
) -> dict[str, list[Detection]]:
    """For each expected name its most confident detections, as many as all phrases with that name need together."""
    counts: dict[str, int] = {}
    for want in objects:
        counts[want.name] = counts.get(want.name, 0) + want.count
    least = {want.name: _strict(want, rules) for want in objects}
    return {name: _named(detections, name, least[name])[:count] for name, count in counts.items()}


def _wrong_numbers(
    detections: Sequence[Detection],
    examined: Mapping[str, list[Detection]],
    objects: Sequence[ExpectedObject],
    rules: ScorerThresholds,
) -> list[str]:
    wrong = []
    for name, chosen in examined.items():
        wants = [want for want in objects if want.name == name]
        needed = sum(want.count for want in wants)
        present = len(_named(detections, name, _strict(wants[0], rules)))
        if len(chosen) < needed or (any(want.exactly for want in wants) and present > needed):
            wrong.append(f"{present} {name}, not {needed}")
    return wrong


Assignment = list[tuple[Detection, ...]]
"""For each expected phrase the detections that are assigned to it."""


def _assignments(examined: Mapping[str, list[Detection]], objects: Sequence[ExpectedObject]) -> Iterator[Assignment]:
    """Every way to divide the examined detections among the phrases of their name."""
    names = list(examined)
    sharers = {name: [i for i, want in enumerate(objects) if want.name == name] for name in names}
    orders = [
        permutations(examined[name]) if len(sharers[name]) > 1 else iter([tuple(examined[name])]) for name in names
    ]
    for choice in product(*(list(order) for order in orders)):
        result: Assignment = [()] * len(objects)
        for name, detections in zip(names, choice, strict=True):
            start = 0
            for i in sharers[name]:
                result[i] = detections[start : start + objects[i].count]
                start += objects[i].count
        yield result


def _of_assignment(
    chosen: Assignment, detections: Detections, expected: ExpectedScene, rules: ScorerThresholds
) -> list[str]:
    wrong = [
        complaint
        for want, assigned in zip(expected.objects, chosen, strict=True)
        for one in assigned
        for complaint in _wrong_looks(one, want, expected.style)
    ]
    wrong += _wrong_sizes(chosen, expected.objects, rules)
    wrong += _wrong_view(chosen, detections.view, expected.view, rules)
    links = "link" in detections.attributes
    return wrong + [c for relation in expected.relations for c in _wrong_relation(chosen, relation, links, rules)]


def _wrong_looks(one: Detection, want: ExpectedObject, style: str | None) -> Iterator[str]:
    asked = (
        ("colour", want.colour, one.colour),
        ("form", want.form, one.form),
        ("style", style, one.style),
        ("material", want.material, one.material),
        ("words", want.words, one.words),
    )
    for what, wish, detected in asked:
        if wish not in (None, detected):
            yield f"{one.name} has {what} {detected}, not {wish}" if detected else f"{one.name} has no {what} {wish}"
    worn = {garment: colour for colour, garment in one.outfit}
    for colour, garment in want.outfit:
        if garment not in worn:
            yield f"{one.name} wears no {garment}"
        elif colour and worn[garment] != colour:
            yield f"{one.name} wears a {worn[garment]} {garment}, not a {colour} one"


def _wrong_view(chosen: Assignment, view: str | None, wish: str | None, rules: ScorerThresholds) -> list[str]:
    """On a plain ground only size tells a distant thing from a small one, and a close-up from a big thing."""
    if wish in (None, view):
        return []
    sides = [area(d.box) ** 0.5 for ones in chosen for d in ones]
    if view is None and wish == "from afar" and max(sides) <= rules.small:
        return []
    if view is None and wish == "close-up" and min(sides) >= rules.close:
        return []
    return [f"view is {view or USUAL}, not {wish}"]


def _wrong_sizes(chosen: Assignment, objects: Sequence[ExpectedObject], rules: ScorerThresholds) -> list[str]:
    sizes = {
        size: [
            area(d.box) ** 0.5 for want, ones in zip(objects, chosen, strict=True) if want.size == size for d in ones
        ]
        for size in ("small", "big")
    }
    if sizes["small"] and sizes["big"]:
        return [] if min(sizes["big"]) >= rules.ratio * max(sizes["small"]) else ["big and small are alike"]
    wrong = ["too large to be small" for side in sizes["small"] if side > rules.small]
    return wrong + ["too small to be big" for side in sizes["big"] if side < rules.big]


def _wrong_relation(
    chosen: Assignment, relation: ExpectedRelation, links: bool, rules: ScorerThresholds
) -> Iterator[str]:
    name = relation.name
    for one in chosen[relation.subject]:
        for other in chosen[relation.object]:
            linked = not links or name not in (*LINKED, "riding", "behind")
            linked = linked or (dict(one.does).get(name, 0.0) + dict(other.undergoes).get(name, 0.0)) / 2 >= rules.link
            if not (linked and stands_so(one.box, name, other.box)):
                yield f"{one.name} is not {name} the {other.name}"


def _of_pair(detections: Detections, expected: ExpectedScene, rules: ScorerThresholds) -> list[str]:
    """Complaints about a picture that shows things twice: in the upper half as asked, below in the lower style."""
    upper = [d for d in detections.found if d.box[1] + d.box[3] < 1]
    lower = [d for d in detections.found if d.box[1] + d.box[3] >= 1]
    plain = replace(expected, lower_style=None)
    below = replace(plain, style=expected.lower_style, place=None)
    halves = (("above", upper, plain), ("below", lower, below))
    return [
        f"{where}: {complaint}"
        for where, half, demand in halves
        for complaint in complaints(replace(detections, found=tuple(half)), demand, rules)
    ]

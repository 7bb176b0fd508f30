"""A check of a network's conditions (its named inputs besides x and time) against those that its config expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pinxit.errors import UsageError

ANY = -1  # a size that may be anything
OPTIONAL = ("mask",)  # conditions that may be left out


def check_conditions(who: str, expected: Mapping[str, Sequence[int]], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise UsageError for conditions that the network `who` does not take; shapes are those of one sample."""
    known = ", ".join(expected) or "nothing"
    for name in shapes:
        if name not in expected:
            raise UsageError(f"{who} takes no condition '{name}'; it takes {known}.")
    for name, shape in expected.items():
        if name not in shapes:
            if name in OPTIONAL:
                continue
            raise UsageError(f"{who} wants the condition '{name}'; it takes {known}.")
        given = tuple(shapes[name])
        if len(given) != len(shape) or any(b not in (ANY, a) for a, b in zip(given, shape, strict=True)):
            needed = ", ".join("any" if size == ANY else str(size) for size in shape)
            raise UsageError(f"the condition '{name}' has the shape {list(given)} a sample; it must be [{needed}].")

"""Which settings a sweep tries: all combinations of what is varied, each checked before anything is painted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pinxit.errors import UsageError
from pinxit.functional.samplers import SAMPLERS

Settings = dict[str, Any]
UPSAMPLER = ("augmentation", "upsampler_steps", "upsampler_guidance")
"""The settings of an upsampler."""


def combinations(varied: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]) -> list[Settings]:
    """Every combination of the varied values, the last setting varying fastest; each with the fixed ones behind.

    Raises UsageError for a value given twice and for a setting both varied and fixed.
    """
    for name, values in varied.items():
        if name in fixed:
            raise UsageError(f"{name} is given twice: leave out --vary {name} or --set {name}.")
        twice = [value for place, value in enumerate(values) if value in values[:place]]
        if twice:
            raise UsageError(f"--vary {name} names {twice[0]} twice: name every value once.")
    return [dict(zip(varied, values, strict=True)) | dict(fixed) for values in product(*varied.values())]


def check(planned: Sequence[Settings], painter: Mapping[str, Any], upsampler: Mapping[str, Any] | None) -> None:
    """Raise UsageError for settings that a painter does not have, or of another kind than its own; ranges are its own.

    `upsampler`: its own settings; None where pictures are not enlarged.
    """
    known = {**painter, **(upsampler or {})}
    for name, value in ((name, value) for settings in planned for name, value in settings.items()):
        if name not in known and name in UPSAMPLER:
            raise UsageError(f"{name} is a setting of the upsampler: only `eval sweep --upscale` enlarges pictures.")
        if name not in known:
            raise UsageError(f"there is no setting '{name}' here: choose from {', '.join(known)}.")
        _check_kind(name, value, known[name])


def _check_kind(name: str, value: Any, usual: Any) -> None:
    """A word for a word, a number for a number, a whole one for a whole one."""
    if isinstance(usual, str):
        if not isinstance(value, str):
            raise UsageError(f"{name} takes a word, such as {usual or 'a name'}, not {value}.")
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number:
        raise UsageError(f"{name} takes a number, such as {usual}, not {value}.")
    if isinstance(usual, int) and not isinstance(value, int):
        raise UsageError(f"{name} takes a whole number, such as {usual}, not {value}.")


def evaluations(sampler: Any, steps: Any) -> int | None:
    """How often a sampler asks its network for one picture; None where nobody says which, or how many steps.

    With guidance the network works twice each time.
    """
    return SAMPLERS[sampler].evaluations(steps) if sampler in SAMPLERS and steps else None

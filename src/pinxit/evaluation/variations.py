"""The settings that a sweep tries: all combinations of the varied values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pinxit.errors import UsageError
from pinxit.functional.samplers import SAMPLERS

Settings = dict[str, Any]


def combinations(varied: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]) -> list[Settings]:
    """Every combination of the varied values, the last setting varying fastest; each followed by the fixed settings.

    Raises UsageError for a value given twice and for a setting both varied and fixed.
    """
    for name, values in varied.items():
        if name in fixed:
            raise UsageError(f"{name} is given twice: leave out --vary {name} or --set {name}.")
        twice = [value for place, value in enumerate(values) if value in values[:place]]
        if twice:
            raise UsageError(f"--vary {name} names {twice[0]} twice: name every value once.")
    return [dict(zip(varied, values, strict=True)) | dict(fixed) for values in product(*varied.values())]


def evaluations(sampler: Any, steps: Any) -> int | None:
    """Evaluations of the denoiser for one picture; None if sampler or steps are unknown.

    With guidance each of them takes two rows of the network.
    """
    return SAMPLERS[sampler].evaluations(steps) if sampler in SAMPLERS and steps else None

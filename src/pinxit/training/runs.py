"""run.json of a run folder: the config that the run was started with, and which changes of it are allowed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from pinxit import __version__
from pinxit.config import from_dict, sections_by_name, to_dict
from pinxit.errors import DataError, UsageError
from pinxit.files import read_json, write_json

FILE = "run.json"
ELSEWHERE = "train into another folder"

T = TypeVar("T")

STEERING = ("images", "micro", "compile", "shard", "recompute", "log_every", "preview_every", "save_minutes")
"""Fields of a plan that may change at any time: the length, and those that the result does not depend on."""


class _File(TypedDict):
    recipe: str
    config: dict[str, Any]


def enter(folder: Path, recipe: str, config: Any, settled: Mapping[str, Callable[[], bool]]) -> None:
    """Start a run in `folder`, or resume the one that is there, and write its config.

    `settled`: for a dotted section of the config, whether a stage has already used it, so that it can no longer change;
    plans may always be lengthened. Raises UsageError for such a change, DataError for a damaged run.json or that of
    another recipe, PinxitError if the folder cannot be written.
    """
    path = folder / FILE
    new = to_dict(config)
    if path.is_file():
        old = to_dict(config_of(folder, recipe, type(config)))  # fields that an older pinxit did not have: defaults
        for name, before, now in differences(old, new):
            if any(name.startswith(f"{section}.") or name == section for section, used in settled.items() if used()):
                _check(folder, name, before, now)
        if old == new:
            return
    write_json(path, {"pinxit": __version__, "recipe": recipe, "config": new})


def read(folder: Path, recipe: str) -> dict[str, Any]:
    """The config of the run in `folder` as JSON values. Raises DataError when damaged or of another recipe."""
    path = folder / FILE
    data = read_json(path, _File, DataError, ELSEWHERE)
    config = data["config"]
    if data["recipe"] != recipe:
        raise DataError(f"{folder} holds a run of {data['recipe']}, not of {recipe}; {ELSEWHERE}.")
    _forget_plan_seeds(config)
    return config


def _forget_plan_seeds(config: dict[str, Any]) -> None:
    """Old configs have a seed in each plan, which only the judge used: it is the run's seed now."""
    plans = config.get("plans")
    for plan in (config.get("plan"), *(plans.values() if isinstance(plans, dict) else ())):
        if isinstance(plan, dict) and "seed" in plan:
            config.setdefault("seed", plan.pop("seed"))


def is_run_of(folder: Path, recipe: str) -> bool:
    """Whether there is a run of that recipe in `folder`."""
    return (folder / FILE).is_file() and read_json(folder / FILE, _File, DataError, ELSEWHERE)["recipe"] == recipe


def config_of(folder: Path, recipe: str, kind: type[T]) -> T:
    """The config of the run in `folder` as the dataclass `kind`, whose static method `resumed`, if any, converts it."""
    return from_dict(kind, getattr(kind, "resumed", dict)(read(folder, recipe)), f"{folder / FILE}: config")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, old value, new value) for every value that differs; a missing one counts as None.

    The sections in a list are matched by their names.
    """
    for name in dict.fromkeys([*old, *new]):
        before, now = old.get(name), new.get(name)
        if sections_by_name(before) and sections_by_name(now):
            yield from differences(sections_by_name(before), sections_by_name(now), f"{prefix}{name}.")
        elif before != now:
            yield f"{prefix}{name}", before, now


def _check(folder: Path, name: str, before: Any, now: Any) -> None:
    field = name.rpartition(".")[2]
    if field in STEERING and not (field == "images" and now < before):
        return
    only = " (a plan can be lengthened, not shortened)" if field == "images" else ""
    raise UsageError(
        f"{folder} was started with {name}={_text(before)}, not {_text(now)}{only}; "
        "keep the old value or train into another folder."
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

"""What a scheduler_config.json of diffusers says: read and checked, never executed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.weights.json_files import json_object

FILE = "scheduler_config.json"
Wanted = Mapping[str, tuple[Any, Any]]
"""Setting -> what it is where nothing is said, what it must be."""


def scheduler_settings(folder: Path, wanted: Wanted, others: Collection[str], family: str) -> dict[str, Any]:
    """What the file in `folder` says. `others`: settings that may be there besides, with any value.

    Raises CheckpointError when there is no such file, for a setting that is unknown, and for one that `family` has not.
    """
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder.parent} has no {folder.name}/{FILE}: give the whole folder as diffusers writes it."
        )
    told = json_object(path)
    for name in told:
        if name not in wanted and name not in others and not name.startswith("_"):
            raise CheckpointError(f"{path} has the setting {name}, which pinxit does not know.")
    for name, (silent, value) in wanted.items():
        if told.get(name, silent) != value:
            raise CheckpointError(f"{path}: {name} is {told.get(name, silent)}; {family} has {value}.")
    return told


def number(told: Mapping[str, Any], name: str, limits: tuple[float, float, float], folder: Path) -> float:
    """A number of the file in `folder`; `limits`: it where nothing is said, the least and the greatest."""
    silent, least, most = limits
    value = told.get(name, silent)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise CheckpointError(f"{folder / FILE}: {name} is {value!r}; it must be a number from {least:g} to {most:g}.")
    return value

"""The settings in a scheduler_config.json of diffusers: read and checked, never executed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.weights.json_files import json_object

FILE = "scheduler_config.json"
Wanted = Mapping[str, tuple[Any, Any]]
"""Setting -> its default, and the value that it must have."""


def scheduler_settings(folder: Path, wanted: Wanted, others: Collection[str], family: str) -> dict[str, Any]:
    """The settings of the file in `folder`. `others`: further settings, which may have any value.

    Raises CheckpointError when there is no such file, for an unknown setting, and for a value that `family` does not
    have.
    """
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(
            f"{folder.parent} has no {folder.name}/{FILE}: give the whole folder as diffusers writes it."
        )
    settings = json_object(path)
    for name in settings:
        if name not in wanted and name not in others and not name.startswith("_"):
            raise CheckpointError(f"{path} has the setting {name}, which pinxit does not know.")
    for name, (default, value) in wanted.items():
        if settings.get(name, default) != value:
            raise CheckpointError(f"{path}: {name} is {settings.get(name, default)}; {family} has {value}.")
    return settings


def number(settings: Mapping[str, Any], name: str, limits: tuple[float, float, float], folder: Path) -> float:
    """A number among the settings of the file in `folder`; `limits`: its default, the least and the greatest value."""
    default, least, most = limits
    value = settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise CheckpointError(f"{folder / FILE}: {name} is {value!r}; it must be a number from {least:g} to {most:g}.")
    return value

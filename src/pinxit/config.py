"""Configs are frozen dataclasses that convert to JSON and back, and take dotted overrides.

`to_dict(config)` and `from_dict(Type, data)` are inverse; `override(config, ["dvae.codes=512"])` returns
a changed copy.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pinxit.errors import UsageError
from pinxit.old_names import renamed, renamed_path
from pinxit.schema import checked, joined, unknown_field

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready values (tuples become lists)."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return result


def from_dict(kind: type[T], data: dict[str, Any], where: str = "config") -> T:
    """The dataclass `kind` from `data`.

    JSON that an older version wrote is read, too: a static method `migrated` of the dataclass, where it has one, and
    the table of `old_names` convert it. Raises UsageError naming a field that is unknown, or whose value is of the
    wrong type or out of its range.
    """
    if isinstance(data, dict):
        data = renamed(kind, getattr(kind, "migrated", dict)(data))
    strange = unknown_field(kind, data)
    if strange is not None:
        name, known = strange
        section, _, leaf = joined(where, name).rpartition(".")
        raise UsageError(f"{section or 'it'} has no field '{leaf}'; it has {', '.join(known)}.")
    return checked(kind, data, where)


def override(config: T, changes: Iterable[str]) -> T:
    """A copy of `config` with dotted changes such as "transformer.depth=6" applied in order.

    The right side is read as JSON where it parses, else as a string. A section in a list is addressed by its `name`:
    null removes it, and an unknown name appends a new one. Raises UsageError for an unknown field.
    """
    data = to_dict(config)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"override '{change}' is not of the form field.subfield=value.")
        *parents, leaf = renamed_path(type(config), path.split("."))
        target: Any = data
        for parent in parents:
            target = sections_by_name(target).get(parent)
            if not isinstance(target, dict) and not sections_by_name(target):
                raise UsageError(f"override '{change}': there is no section '{parent}'.")
        if isinstance(target, list):
            _put(target, leaf, parse_value(text), change)
        elif leaf not in target:
            raise UsageError(f"override '{change}': there is no field '{leaf}'; choose from {', '.join(target)}.")
        else:
            target[leaf] = parse_value(text)
    return from_dict(type(config), data, "")


def sections_by_name(value: Any) -> Mapping[str, Any]:
    """The items of a dictionary, or of a list of sections by their names; empty for anything else."""
    if isinstance(value, list):
        sections = [item for item in value if isinstance(item, dict) and isinstance(item.get("name"), str)]
        return {item["name"]: item for item in sections} if len(sections) == len(value) else {}
    return value if isinstance(value, dict) else {}


def _put(sections: list[Any], name: str, value: Any, change: str) -> None:
    """Replace, append or (null) remove the section called `name`."""
    if value is not None and not isinstance(value, dict):
        raise UsageError(f"override '{change}': '{name}' is a section; change one of its fields.")
    place = list(sections_by_name(sections)).index(name) if name in sections_by_name(sections) else len(sections)
    sections[place : place + 1] = [] if value is None else [{"name": name, **value}]


def as_set(value: Any) -> str:
    """A value as the right side of `--set`, which reads it back: text as it is unless it is JSON, the rest as JSON."""
    if isinstance(value, str) and parse_value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parse_value(text: str) -> Any:
    """The JSON value that a text is, or else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # ValueError also for a number of more than 4300 digits
        return text

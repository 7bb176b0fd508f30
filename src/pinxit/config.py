"""Configs are frozen dataclasses that survive a JSON round trip and take dotted overrides.

`to_dict(config)` and `from_dict(Type, data)` are inverse; `override(config, ["dvae.codes=512"])` returns
a changed copy.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any, TypeVar

from pinxit.errors import UsageError
from pinxit.schema import checked, joined, unknown_field

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready values (tuples become lists)."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return result


def from_dict(kind: type[T], data: dict[str, Any], where: str = "config") -> T:
    """The dataclass `kind` from `data`.

    Raises UsageError naming a field that is unknown, or whose value is of the wrong type or out of its range.
    """
    strange = unknown_field(kind, data)
    if strange is not None:
        name, known = strange
        section, _, leaf = joined(where, name).rpartition(".")
        raise UsageError(f"{section or 'it'} has no field '{leaf}'; it has {', '.join(known)}.")
    return checked(kind, data, where)


def override(config: T, changes: Iterable[str]) -> T:
    """A copy of `config` with dotted changes such as "transformer.depth=6" applied in order.

    The right side is read as JSON where it parses, else as a string. Raises UsageError for an unknown field.
    """
    data = to_dict(config)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"override '{change}' is not of the form field.subfield=value.")
        *parents, leaf = path.split(".")
        target = data
        for parent in parents:
            if not isinstance(target.get(parent), dict):
                raise UsageError(f"override '{change}': there is no section '{parent}'.")
            target = target[parent]
        if leaf not in target:
            raise UsageError(f"override '{change}': there is no field '{leaf}'; choose from {', '.join(target)}.")
        target[leaf] = _parse(text)
    return from_dict(type(config), data, "")


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text

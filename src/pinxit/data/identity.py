"""Identifying a dataset by JSON, stored with whatever is built from it, so that it is never resumed with other data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from pinxit.config import to_dict
from pinxit.data.problems import Problem, read
from pinxit.errors import DataError
from pinxit.schema import shortened
from pinxit.texts import counted
from pinxit.types import Dataset, Example

YOUNGER = ("content",)  # fields that older versions did not store: not compared where they are missing
NAMED = 5  # the most differences in a message


def identity(dataset: Dataset) -> dict[str, Any]:
    """The dataset's own `identity()`, or its fields when it is a dataclass, or its class and length."""
    own = getattr(dataset, "identity", None)
    if callable(own):
        result: dict[str, Any] = own()
        return result
    kind = type(dataset).__name__.lower()
    if dataclasses.is_dataclass(dataset):
        return {"kind": kind} | to_dict(dataset)
    return {"kind": kind, "items": len(dataset)}


def first_readable(dataset: Dataset, count: int) -> Example:
    """The first usable one of the first `count` items. Raises DataError if there is none."""
    last = None
    for index in range(count):
        item = read(dataset, index)
        if isinstance(item, Example):
            return item
        last = item
    reason = f": {last.key} {last.reason}" if isinstance(last, Problem) else ""
    raise DataError(f"none of {counted(count, 'item')} can be used{reason}.")


def fingerprint(example: Example) -> str:
    """Sixteen hex digits of a picture and its captions; they change when the code that draws the item changes."""
    digest = hashlib.sha256(str(example.picture.shape).encode() + example.picture.tobytes())
    digest.update(json.dumps(example.captions).encode())
    return digest.hexdigest()[:16]


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The fields that differ, for a message: "source.seed is 0 there and 1 here"."""
    flat_old, flat_new = _flat(old), _flat(new)
    noted = {name for name in flat_new if name.rpartition(".")[2] not in YOUNGER or name in flat_old}
    names = [name for name in flat_old | flat_new if name in noted | flat_old.keys()]
    names = [name for name in names if flat_old.get(name) != flat_new.get(name)]
    mismatches = [
        f"{name} is {_short(flat_old.get(name))} there and {_short(flat_new.get(name))} here" for name in names
    ]
    return ", ".join(mismatches[:NAMED]) + (f" and {len(mismatches) - NAMED} more" if len(mismatches) > NAMED else "")


def _short(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 80 else shortened(value)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat

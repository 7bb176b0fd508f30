"""Config fields that have been renamed, so that the JSON of older versions still opens."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pinxit.schema import fields_of, plain

RENAMED: Mapping[str, Mapping[str, str]] = {  # the dataclass, the old name, the new one
    "DalleConfig": {"alike": "codebook_init"},
    "NoiseConfig": {"redrawn": "reconstructed", "worn": "corrupted"},
    "Plan": {"decayed": "decay_horizon"},
    "SamplingConfig": {"most": "max_threshold"},
    "Stage": {"noisiest": "max_augmentation"},
    "StageConfig": {"noisiest": "max_augmentation"},
    "UNetConfig": {"reading": "refiner_layers"},
}


def renamed(kind: Any, data: Any) -> Any:
    """A config's JSON values with the fields of every section under today's names; unknown fields stay as they are."""
    kind = plain(kind)
    if isinstance(data, list | tuple) and typing.get_origin(kind) in (list, tuple):
        return [renamed(typing.get_args(kind)[0], item) for item in data]
    if not isinstance(data, dict) or not hasattr(kind, "__dataclass_fields__"):
        return data
    hints, names = fields_of(kind), RENAMED.get(kind.__name__, {})
    return {names.get(name, name): renamed(hints.get(names.get(name, name)), value) for name, value in data.items()}


def renamed_path(kind: Any, path: Sequence[str]) -> list[str]:
    """The path to a field, as in `--set SECTION.FIELD=VALUE`, with today's names."""
    names: list[str] = []
    for name in path:
        kind = plain(kind)
        if typing.get_origin(kind) in (list, tuple):  # of sections, which are addressed by their own names
            kind = typing.get_args(kind)[0]
            names.append(name)
            continue
        dataclass = hasattr(kind, "__dataclass_fields__")
        names.append(RENAMED.get(kind.__name__, {}).get(name, name) if dataclass else name)
        kind = fields_of(kind).get(names[-1]) if dataclass else None
    return names

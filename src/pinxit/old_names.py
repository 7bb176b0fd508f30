"""Fields that configs once had under other names: what older versions wrote still opens, here and nowhere else."""

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
    """JSON values of a config, the fields of every section under today's names; unknown ones stay as they are."""
    kind = plain(kind)
    if isinstance(data, list | tuple) and typing.get_origin(kind) in (list, tuple):
        return [renamed(typing.get_args(kind)[0], item) for item in data]
    if not isinstance(data, dict) or not hasattr(kind, "__dataclass_fields__"):
        return data
    hints, names = fields_of(kind), RENAMED.get(kind.__name__, {})
    return {names.get(name, name): renamed(hints.get(names.get(name, name)), value) for name, value in data.items()}


def renamed_path(kind: Any, path: Sequence[str]) -> list[str]:
    """The names on the way to a field, as in `--set SECTION.FIELD=VALUE`, under today's names."""
    names: list[str] = []
    for name in path:
        kind = plain(kind)
        if typing.get_origin(kind) in (list, tuple):  # of sections, which are called by their own names
            kind = typing.get_args(kind)[0]
            names.append(name)
            continue
        dataclass = hasattr(kind, "__dataclass_fields__")
        names.append(RENAMED.get(kind.__name__, {}).get(name, name) if dataclass else name)
        kind = fields_of(kind).get(names[-1]) if dataclass else None
    return names

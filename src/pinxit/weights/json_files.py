"""Reads the JSON files beside published weights, without heavy imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.files import read_json


def json_object(path: Path) -> dict[str, Any]:
    """The object in a file. Raises CheckpointError when there is none."""
    return read_json(path, dict[str, Any], CheckpointError)


def json_objects(path: Path) -> list[dict[str, Any]]:
    """The list of objects in a file. Raises CheckpointError when there is none."""
    return read_json(path, list[dict[str, Any]], CheckpointError)


def shards(index: Path) -> list[Path]:
    """The files that an index of weights names, in its own folder. Raises CheckpointError for none or missing ones."""
    places = json_object(index).get("weight_map")
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    missing = next((name for name in names if not _is_beside(index, name)), None)
    if not names or missing is not None:
        told = "no file" if missing is None else missing or "a file without a name"
        raise CheckpointError(f"{index} names {told}, which is not in the folder.")
    return [index.with_name(name) for name in names]


def _is_beside(index: Path, name: str) -> bool:
    return bool(name) and Path(name).name == name and index.with_name(name).is_file()

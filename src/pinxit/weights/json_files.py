"""The JSON files that lie beside published weights. Nothing heavy is imported to look them over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError


def json_object(path: Path) -> dict[str, Any]:
    """The object in a file. Raises CheckpointError when there is none."""
    found = _read(path)
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no JSON object.")
    return found


def json_objects(path: Path) -> list[dict[str, Any]]:
    """The list of objects in a file. Raises CheckpointError when there is none."""
    found = _read(path)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise CheckpointError(f"{path} holds no list of JSON objects.")
    return found


def shards(index: Path) -> list[Path]:
    """The files, all beside it, that an index of weights names. Raises CheckpointError when it names none or others."""
    places = json_object(index).get("weight_map")
    names = sorted({str(name) for name in places.values()}) if isinstance(places, dict) else []
    missing = next((name for name in names if Path(name).name != name or not index.with_name(name).is_file()), None)
    if not names or missing is not None:
        raise CheckpointError(f"{index} names {missing or 'no file'}, which is not in the folder.")
    return [index.with_name(name) for name in names]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}.") from error

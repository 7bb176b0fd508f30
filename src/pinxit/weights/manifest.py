"""pinxit.json, the manifest of a checkpoint folder, and the check of the folder's files against it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from pinxit.errors import CheckpointError
from pinxit.files import read_json
from pinxit.schema import Whole

FORMAT = 1
MANIFEST, CARD = "pinxit.json", "README.md"


class _Format(TypedDict):
    format: int


class _Part(TypedDict):
    config: dict[str, Any]
    files: list[str]


class _File(TypedDict):
    sha256: str
    bytes: Whole


class Manifest(_Format):
    """The content of pinxit.json."""

    recipe: str
    parts: dict[str, _Part]
    files: dict[str, _File]
    settings: dict[str, Any]
    provenance: dict[str, Any]


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. Raises CheckpointError when it is damaged or of another format."""
    advice = "fetch the checkpoint again"
    version = read_json(path, _Format, CheckpointError, advice)["format"]
    if version != FORMAT:
        raise CheckpointError(f"{path} has format {version}; this pinxit reads format {FORMAT}: update pinxit.")
    manifest = read_json(path, Manifest, CheckpointError, advice)
    outside = next((name for name in manifest["files"] if Path(name).name != name), None)
    named = (name for part in manifest["parts"].values() for name in part["files"])
    unknown = next((name for name in named if name not in manifest["files"]), None)
    if outside is not None or unknown is not None:
        raise CheckpointError(f"{path} names the file '{outside or unknown}', which is not its own; {advice}.")
    return manifest


def check_file(path: Path, expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError when a file is missing, truncated or altered."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; fetch the checkpoint again.")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise CheckpointError(
            f"{path} is {size} bytes, not {expected['bytes']}: it was cut short or altered; fetch the checkpoint again."
        )
    if file_record(path)["sha256"] != expected["sha256"]:
        raise CheckpointError(f"{path} does not match its SHA-256: it was altered; fetch the checkpoint again.")


def file_record(path: Path) -> dict[str, Any]:
    """A file's entry in a manifest."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}

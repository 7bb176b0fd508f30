"""The files of a bank folder.

pictures.npy    uint8 [N, S, S, 3]
captions.jsonl  a list of captions per line
facts.jsonl     what a picture shows, if the source says so: a Scene of the world or a label, as JSON
problems.jsonl  [key, reason] of every item that was skipped
bank.json       what it was made from; written last, so a bank without it is unfinished
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pinxit.errors import DataError
from pinxit.files import read_json
from pinxit.schema import Count

FORMAT = 1
PICTURES, CAPTIONS, FACTS, PROBLEMS = "pictures.npy", "captions.jsonl", "facts.jsonl", "problems.jsonl"
MANIFEST = "bank.json"
PARTS = "parts"  # subfolder of a bank under construction


AGAIN = "delete it and build it again"


class _Format(TypedDict):
    format: int


class _Manifest(_Format):
    source: dict[str, Any]
    items: Count
    size: Count
    sample: str
    facts: NotRequired[str | None]


def read_manifest(folder: Path) -> dict[str, Any]:
    """bank.json of a finished bank. Raises DataError when `folder` is not one, or of another version."""
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{folder} is not a finished bank: it has no {MANIFEST}.")
    if read_json(folder / MANIFEST, _Format, DataError, AGAIN)["format"] != FORMAT:
        raise DataError(f"{folder} is not a bank of this version (format {FORMAT}); {AGAIN}.")
    return dict(read_json(folder / MANIFEST, _Manifest, DataError, AGAIN))

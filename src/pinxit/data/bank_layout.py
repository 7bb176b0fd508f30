"""The files of a bank folder.

pictures.npy    uint8 [N, S, S, 3]
captions.jsonl  a list of captions per line
facts.jsonl     what the world knows of the picture (a Scene as JSON), only where the source tells
problems.jsonl  [key, reason] of every item that was skipped
bank.json       what it was made from; written last, so a bank without it is unfinished
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pinxit.errors import DataError

FORMAT = 1
PICTURES, CAPTIONS, FACTS, PROBLEMS = "pictures.npy", "captions.jsonl", "facts.jsonl", "problems.jsonl"
MANIFEST = "bank.json"
PARTS = "parts"  # what a bank under construction keeps beside its pictures


def read_manifest(folder: Path) -> dict[str, Any]:
    """bank.json of a finished bank. Raises DataError when `folder` is none."""
    try:
        about = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder} is not a finished bank: it has no {MANIFEST}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / MANIFEST} cannot be read ({error}).") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DataError(f"{folder} is not a bank of this version (format {FORMAT}); delete it and build it again.")
    return about

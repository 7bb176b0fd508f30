"""Values as they were when a file was written: a change of them is on purpose when the file changes with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def golden(path: Path, found: Callable[[], Any]) -> Any:
    """What the JSON file `path` holds; with PINXIT_GOLDEN=write what is `found` is written there before."""
    if os.environ.get("PINXIT_GOLDEN") == "write":
        path.write_text(json.dumps(found(), indent=1) + "\n")
    return json.loads(path.read_text())

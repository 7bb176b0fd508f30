"""The command line that trains a given config, as a model card prints it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pinxit.config import as_set, to_dict
from pinxit.training.runs import differences


def command(
    recipe: str,
    config: Any,
    presets: Mapping[str, Callable[[], Any]],
    start: str | None = None,
    brought: Collection[str] = (),
    grow: bool = False,
) -> str:
    """`pinxit train RECIPE` with the nearest preset and a `--set` for every field that differs from it.

    `start` is the argument of --init-from, which brings the fields `brought`; `grow`: with --grow. `config` has
    `data.source`; the run folder is called RUN.
    """
    changes = {name: _changes(preset(), config) for name, preset in presets.items()}
    nearest = min(changes, key=lambda name: len(changes[name]))
    words = ["pinxit", "train", recipe, "--preset", nearest, "--data", config.data.source]
    for change in changes[nearest]:
        if change.partition("=")[0] in brought:
            continue
        words += ["--set", change]
    if start is not None:
        words += ["--init-from", start, *(["--grow"] if grow else [])]
    return shlex.join([*words, "--out", "RUN"])


def _changes(preset: Any, config: Any) -> list[str]:
    """The overrides (`config.override`) that turn `preset` into `config`, without the data source."""
    changes = differences(to_dict(preset), to_dict(config))
    return [f"{name}={as_set(value)}" for name, _, value in changes if name != "data.source"]

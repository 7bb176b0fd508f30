"""The provenance that every checkpoint stores: how its weights were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pinxit.recipes.warm_start import StartingRun
from pinxit.training import state as states
from pinxit.training.log import read_metrics


def provenance(run: StartingRun[Any], bank: Mapping[str, Any], stages: Sequence[str], shown: Sequence[str]) -> Any:
    """The data of a run (`bank`: the bank's manifest), its seed, where it started, and the `history` of its stages."""
    return {
        "data": run.config.data.source,
        "pictures": bank["items"],
        "source": bank["source"],
        "seed": run.config.seed,
        "started_from": run.start().get("checkpoint"),
        "stages": {stage: history(run, stage, shown) for stage in stages},
    }


def history(run: StartingRun[Any], stage: str, shown: Sequence[str]) -> dict[str, Any]:
    """Images seen, hours, machine and the last value of each `shown` metric of a stage.

    Where the run started from a checkpoint of the same recipe, images and hours include those of the checkpoint.
    """
    before, progress = run.before(stage), states.read_progress(run.path(stage))
    lines = read_metrics(run.path(stage))
    last = {key: value for key, value in lines[-1].items() if key in shown} if lines else {}
    sums = {
        "images": progress.images + before.get("images", 0),
        "hours": round(progress.seconds / 3600 + before.get("hours", 0.0), 3),
    }
    here = {"machine": states.read_machine(run.path(stage)) if progress.images else before.get("machine", {})}
    return before | sums | last | here

"""What a run will cost before it starts: `pinxit train dalle --dry-run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pinxit.models.dvae import DVAE
from pinxit.recipes import estimate
from pinxit.recipes.clip.task import ClipTask
from pinxit.recipes.dalle.clip_training import Reconstruct, ranker
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.run import STAGES, TRAINED, DalleRun
from pinxit.recipes.dalle.train_dvae import DVAETask
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.recipes.staging import check_names


def table(run: DalleRun, asked: Sequence[str] | None = None) -> str:
    """The estimates for the stages `asked` (None: all) as plain text, by the run's own speed where its log has it.

    Raises UsageError for an unknown stage, DataError for missing pictures.
    """
    asked = STAGES if asked is None else asked
    check_names(STAGES, asked)
    training = [replace(stage(run.config, name), lacks=run.lacks) for name in TRAINED if name in asked]
    return estimate.table(training, stored(run) if "pictures" in asked else {}, run.device, run.folder)


def stored(run: DalleRun) -> dict[int, int]:
    """How many pictures the first stage stores, by their side in pixels."""
    data = run.config.data
    if data.stream:
        return {}
    pictures = estimate.bank_size(data.source, data.size, data.pictures)
    return {data.size: pictures + (data.ranking if run.grouped else 0)}


def stage(config: DalleConfig, name: str) -> estimate.Stage:
    """One stage that trains."""
    return estimate.Stage(name, getattr(config.plans, name), partial(TASKS[name], config))


def _clip(config: DalleConfig) -> ClipTask:
    training = ranker(config)
    return ClipTask(
        training, reconstruct=Reconstruct(DVAE(config.dvae), config.noise.corrupted) if training.reconstructed else None
    )


TASKS: dict[str, Callable[[DalleConfig], estimate.EstimableTask]] = {
    "dvae": DVAETask,
    "transformer": TransformerTask,
    "clip": _clip,
}

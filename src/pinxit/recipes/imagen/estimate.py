"""What a run will cost before it starts: `pinxit train imagen --dry-run`. Frozen text encoders are not counted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pinxit.models.text import TextTransformer
from pinxit.recipes import estimate
from pinxit.recipes.diffusion.task import DiffusionTask, countable
from pinxit.recipes.imagen.config import ImagenConfig
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.staging import check_names
from pinxit.text.frozen import EncoderOptions
from pinxit.text.learned import LearnedText
from pinxit.text.tokenizers import SMALLEST, Tokenizer


def table(run: ImagenRun, asked: Sequence[str] | None = None) -> str:
    """The estimates for the stages `asked` (None: all) as plain text, by the run's own speed where its log has it.

    Raises UsageError for an unknown stage, DataError for missing pictures.
    """
    asked = run.stages if asked is None else asked
    check_names(run.stages, asked)
    training = [stage(run.config, name) for name in run.config.cascade if name in asked]
    return estimate.table(training, stored(run.config) if "pictures" in asked else {}, run.device, run.folder)


def stored(config: ImagenConfig) -> dict[int, int]:
    """How many pictures the first stage stores, by their side in pixels; of a stream none."""
    if config.data.stream:
        return {}
    learning = [stage for stage in config.stages if stage.plan.images]
    return {stage.size: estimate.bank_size(config.data.source, stage.size, stage.pictures) for stage in learning}


def stage(config: ImagenConfig, name: str) -> estimate.Stage:
    """One stage that trains."""
    return estimate.Stage(name, config.stage(name).plan, partial(_task, config, name))


def _task(config: ImagenConfig, name: str) -> DiffusionTask:
    """The task with text of the width that the network takes; a frozen text encoder is not opened."""
    about = countable(config.stage(name))
    shape, reader = (config.text.length, about.unet.text), None
    if config.text.learned is not None and name == config.cascade[0]:  # it is trained with the base
        words = Tokenizer.train(("any",), SMALLEST)  # costs do not depend on what its tokens are
        reader = LearnedText(
            TextTransformer(config.text.learned), words, running=EncoderOptions(config.text.length, "meta")
        )
    return DiffusionTask(name, about, config.seed, shape, reader=reader, teaches=True)

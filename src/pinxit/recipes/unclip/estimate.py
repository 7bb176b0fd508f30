"""The cost of a run before it starts: `pinxit train unclip --dry-run`. Frozen encoders are not counted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pinxit.recipes import estimate
from pinxit.recipes.diffusion.task import DiffusionTask, countable
from pinxit.recipes.staging import check_names
from pinxit.recipes.unclip.config import DECODER, UnclipConfig
from pinxit.recipes.unclip.run import UnclipRun
from pinxit.recipes.unclip.task import PriorTask


def table(run: UnclipRun, asked: Sequence[str] | None = None) -> str:
    """The estimates for the stages `asked` as plain text, with the run's own speed where it has been logged.

    Raises UsageError for an unknown stage, DataError for pictures that do not exist.
    """
    asked = run.stages if asked is None else asked
    check_names(run.stages, asked)
    training = [stage(run.config, name) for name in run.trained if name in asked]
    return estimate.table(training, _stored(run) if "pictures" in asked else {}, run.device, run.folder)


def stage(config: UnclipConfig, name: str) -> estimate.Stage:
    """A stage that trains."""
    if name == DECODER:
        return estimate.Stage(name, config.decoder.plan, partial(_decoder, config))
    if any(one.name == name for one in config.upsamplers):
        return estimate.Stage(name, config.upsampler(name).plan, partial(_upsampler, config, name))
    prior = config.prior(name)
    return estimate.Stage(name, prior.plan, partial(PriorTask, prior, config.seed))


def _decoder(config: UnclipConfig) -> DiffusionTask:
    return DiffusionTask(DECODER, config.decoder, config.seed, (config.text.length, config.decoder.unet.text))


def _upsampler(config: UnclipConfig, name: str) -> DiffusionTask:
    about = config.upsampler(name)
    return DiffusionTask(name, countable(about), config.seed, (config.text.length, about.unet.text))


def _stored(run: UnclipRun) -> dict[int, int]:
    """How many pictures the first stage stores, by their side; those for CLIP at another size are not counted.

    Of a stream none.
    """
    if run.config.data.stream:
        return {}
    source = run.config.data.source
    return {one.size: estimate.bank_size(source, one.size, one.pictures) for one in run.banks.values()}

"""The stages of `pinxit train unclip`: pictures, texts, vectors, space, priors, decoder, checkpoint; all resumable."""

from __future__ import annotations

from collections.abc import Sequence

from pinxit.data.bank import Bank
from pinxit.data.stream_texts import TextRowEncoder
from pinxit.data.vectors import build_vectors
from pinxit.models.torch_defaults import torch_defaults_for_training
from pinxit.recipes.diffusion.stages import store_pictures, store_texts
from pinxit.recipes.run_sidecars import encode_missing
from pinxit.recipes.sidecars import ClipRowEncoder
from pinxit.recipes.staging import RunOutcome, fit_stage, progress_callback, run_in_order, say
from pinxit.recipes.unclip import estimate
from pinxit.recipes.unclip.checks import check_banks, check_same_clip
from pinxit.recipes.unclip.config import SPACE
from pinxit.recipes.unclip.release import write_checkpoint
from pinxit.recipes.unclip.run import UnclipRun
from pinxit.recipes.unclip.space import Space, SpaceConfig
from pinxit.recipes.unclip.space_file import write_space
from pinxit.recipes.unclip.task import first_dots, fitted_rows
from pinxit.recipes.warm_start import check_fits
from pinxit.texts import counted
from pinxit.training.stop import Stop


@torch_defaults_for_training()
def train(run: UnclipRun, stages: Sequence[str] | None = None, stop: Stop | None = None) -> RunOutcome:
    """Run `stages` (None: all of the run's) in their order until they are done or `stop` says so.

    Raises UsageError for an unknown one or a changed config.
    """

    def step(name: str, stop: Stop) -> None:
        if name == "pictures":
            _pictures(run, stop)
        elif name == "texts":
            run.need(name, "pictures")
            _texts(run, stop)
        elif name == "vectors":
            run.need(name, "pictures")
            _vectors(run, stop)
        elif name == SPACE:
            run.need(name, "vectors")
            _space(run)
        elif name in run.trained:
            run.need(name, "pictures", "texts", "vectors", SPACE)
            fit_stage(run, name, lambda: run.task(name), stop)
        else:
            run.need("checkpoint", SPACE, *run.trained)
            write_checkpoint(run)

    every = run.stages
    asked = every if stages is None else stages
    if run.init is not None and SPACE in run.init.parts and not run.finished(SPACE):
        check_same_clip(run.init, run.clip)
    check_fits(run, [estimate.stage(run.config, name) for name in run.trained if name in asked])
    return run_in_order(run, every, asked, step, lambda name: name != "checkpoint" and run.finished(name), stop)


def _pictures(run: UnclipRun, stop: Stop) -> None:
    """Store the decoder's pictures, the same ones at CLIP's size where that is another, and the upsamplers'."""
    banks = {run.clip_pictures: (run.clip.size, run.config.decoder.pictures)}
    banks |= {name: (stage.size, stage.pictures) for name, stage in run.banks.items()}
    for name, (size, count) in banks.items():
        store_pictures(run, name, size, count, stop)
    if not run.config.data.stream:
        _check_banks(run)


def _check_banks(run: UnclipRun) -> None:
    check_banks(run.path("pictures"), run.path(run.clip_pictures), max(run.clip.size, run.config.decoder.size))


def _texts(run: UnclipRun, stop: Stop) -> None:
    """Encode captions beforehand."""
    if run.config.data.stream:
        encode_missing(run, "texts", run.stream, TextRowEncoder(run.reader, run.config.data.script), stop)
    else:
        store_texts(run, "texts", run.bank(), run.reader, stop)


def _vectors(run: UnclipRun, stop: Stop) -> None:
    """Embed all pictures by CLIP, and the captions that training uses."""
    if run.config.data.stream:
        encode_missing(run, "vectors", run.stream, ClipRowEncoder(run.clip), stop)
        return
    bank, script = Bank.open(run.path(run.clip_pictures)), run.config.data.script
    _check_banks(run)
    with progress_callback(run, "vectors", stop) as progress:
        kept = run.config.text.stored or None
        build_vectors(bank, run.clip, run.path("vectors"), kept, run.config.seed, progress, script)


def _space(run: UnclipRun) -> None:
    """Fit the space, or take that of the start checkpoint, for which its networks were trained."""
    vectors, config = run.vectors, run.config.space
    rows = fitted_rows(len(vectors), config.fitted)
    pictures = vectors.image_embeddings(rows)
    if run.init is not None and SPACE in run.init.parts:
        space = Space(run.init.config(SPACE, SpaceConfig))
        space.load_state_dict(run.init.state(SPACE))
    else:
        space = Space.fit(config, pictures, first_dots(vectors, rows))
    kept = space.explained_variance(pictures)
    write_space(run.path(SPACE), space, run.clip.fingerprint, kept)
    say(
        run,
        f"{counted(config.components, 'component')} explain{'s' * (config.components == 1)} {kept:.1%} of the variance",
    )

"""Fine-tunes Karlo, stage by stage: pictures, texts, vectors, its networks, checkpoint; resumable."""

from __future__ import annotations

from collections.abc import Sequence

from pinxit.data.bank import Bank
from pinxit.data.embeddings import build_embeddings
from pinxit.data.stream_texts import TextRowEncoder
from pinxit.data.streams import Stream
from pinxit.data.vectors import build_vectors
from pinxit.models.torch_defaults import torch_defaults_for_training
from pinxit.recipes.diffusion.stages import store_pictures
from pinxit.recipes.karlo.embedder import UnnormalisedClip
from pinxit.recipes.karlo.release import write_checkpoint
from pinxit.recipes.karlo.run import KarloRun, sketch
from pinxit.recipes.run_sidecars import encode_missing
from pinxit.recipes.sidecars import ClipRowEncoder
from pinxit.recipes.staging import RunOutcome, fit_stage, progress_callback, run_in_order
from pinxit.recipes.unclip.checks import check_banks
from pinxit.recipes.warm_start import check_fits
from pinxit.training.stop import Stop


@torch_defaults_for_training()
def train(run: KarloRun, stages: Sequence[str] | None = None, stop: Stop | None = None) -> RunOutcome:
    """Run `stages` (None: all) in their order, as far as time allows.

    Raises UsageError for an unknown stage, a changed config, or a folder without the image_encoder that a stage needs.
    """

    def step(name: str, stop: Stop) -> None:
        if name == "pictures":
            _pictures(run, stop)
        elif name in ("texts", "vectors"):
            run.need(name, "pictures")
            _read(run, name, stop)
        elif name in run.trained:
            run.need(name, *run.stages[: run.stages.index(run.trained[0])])
            fit_stage(run, name, lambda: run.task(name), stop)
        else:
            run.need(name, *run.trained)
            write_checkpoint(run)

    every = run.stages
    asked = every if stages is None else stages
    check_fits(run, [sketch(run, name) for name in run.trained if name in asked])
    return run_in_order(run, every, asked, step, lambda name: name != "checkpoint" and run.finished(name), stop)


def _pictures(run: KarloRun, stop: Stop) -> None:
    for name, size in run.banks.items():
        store_pictures(run, name, size, run.config.pictures, stop)
    if run.conditioned and not run.config.data.stream:
        _check_banks(run)


def _check_banks(run: KarloRun) -> None:
    check_banks(run.path("pictures"), run.path("seen"), max(run.banks["pictures"], run.banks["seen"]))


def _read(run: KarloRun, name: str, stop: Stop) -> None:
    """Stage "texts": encode all captions; stage "vectors": compute CLIP's embeddings of pictures and captions."""
    seed, script = run.config.seed, run.config.data.script
    if isinstance(stream := run.pictures(), Stream):
        text = name == "texts"
        encoder = (
            TextRowEncoder(run.embedder.reader, script) if text else ClipRowEncoder(UnnormalisedClip(run.embedder))
        )
        encode_missing(run, name, stream, encoder, stop)
        return
    _check_banks(run)  # again: `pictures` counts as finished although it has refused them
    bank = Bank.open(run.path("seen"))
    with progress_callback(run, name, stop) as progress:
        if name == "texts":
            reader = run.embedder.reader
            build_embeddings(bank, reader, run.path(name), seed=seed, progress=progress, script=script)
        else:
            build_vectors(
                bank, UnnormalisedClip(run.embedder), run.path(name), seed=seed, progress=progress, script=script
            )

"""`pinxit train imagen`, stage by stage: pictures, tokenizer, texts, the cascade, checkpoint, each resumable."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pinxit.data.stream_texts import TextRowEncoder
from pinxit.data.streams import Stream
from pinxit.models.torch_defaults import torch_defaults_for_training
from pinxit.recipes.diffusion.stages import store_pictures, store_texts
from pinxit.recipes.diffusion.task import TEXT
from pinxit.recipes.imagen import estimate
from pinxit.recipes.imagen.open import open_ranker
from pinxit.recipes.imagen.release import write_checkpoint
from pinxit.recipes.imagen.run import ImagenRun, bank_of, texts_of
from pinxit.recipes.run_sidecars import encode_missing
from pinxit.recipes.staging import RunOutcome, fit_stage, learn_tokenizer, run_in_order
from pinxit.recipes.warm_start import check_fits
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.stop import Stop


@torch_defaults_for_training()
def train(run: ImagenRun, stages: Sequence[str] | None = None, stop: Stop | None = None) -> RunOutcome:
    """Run `stages` (None: all of the run's) in their order as far as time allows.

    Raises UsageError for an unknown one or a changed config, CheckpointError for a ranker that could not be opened to
    paint.
    """

    def step(name: str, stop: Stop) -> None:
        if name == "pictures":
            _pictures(run, stop)
        elif name == "tokenizer":
            assert run.config.text.learned is not None
            run.need(name, "pictures")
            if run.init is not None and TEXT in run.init.parts:
                Tokenizer.open(run.init.folder).save(run.path(name))
            else:
                learn_tokenizer(run.pictures(), run.config.text.learned.vocab, run.path(name))
        elif name == "texts":
            run.need(name, "pictures")
            _texts(run, stop)
        elif name in run.config.cascade:
            run.need(name, "pictures", "tokenizer", "texts")
            first = run.config.cascade[0]
            if name != first and run.config.text.learned is not None:
                run.need(name, first)  # whose text encoder it shares
            fit_stage(run, name, lambda: run.task(name), stop)
        else:
            run.need("checkpoint", *run.config.cascade)
            write_checkpoint(run)

    every = run.stages
    asked = every if stages is None else stages
    open_ranker(run.config.ranker, torch.device("cpu"))  # refused now, not when training has ended
    check_fits(run, [estimate.stage(run.config, name) for name in run.trained if name in asked])
    return run_in_order(run, every, asked, step, lambda name: name != "checkpoint" and run.finished(name), stop)


def _pictures(run: ImagenRun, stop: Stop) -> None:
    """Draw or read the pictures of the base, and larger ones for the upsamplers."""
    for stage in map(run.config.stage, run.learning):
        store_pictures(run, bank_of(stage.name), stage.size, stage.pictures, stop)


def _texts(run: ImagenRun, stop: Stop) -> None:
    """Encode the captions of all banks."""
    for stage in run.conditional:
        bank = run.pictures(bank_of(stage))
        if isinstance(bank, Stream):
            encoder = TextRowEncoder(run.frozen, run.config.data.script)
            encode_missing(run, texts_of(stage), bank, encoder, stop, "texts")
            continue
        store_texts(run, texts_of(stage), bank, run.frozen, stop, f"texts of {bank_of(stage)}")

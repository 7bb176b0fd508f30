"""`pinxit train imagen`, stage by stage: pictures, tokenizer, base, upsampler, checkpoint, each resumable."""

from __future__ import annotations

from collections.abc import Sequence

from pinxit.data.bank import build_bank
from pinxit.data.sources import open_source
from pinxit.recipes.imagen.release import write_checkpoint
from pinxit.recipes.imagen.run import STAGES, TRAINED, ImagenRun
from pinxit.recipes.staging import Ended, fit_stage, in_order, learn_tokenizer, showing, workers
from pinxit.training.stop import Stop


def train(run: ImagenRun, stages: Sequence[str] = STAGES, stop: Stop | None = None) -> Ended:
    """Run `stages` in their order as far as time allows. Raises UsageError for an unknown one or a changed config."""

    def step(name: str, stop: Stop) -> None:
        if name == "pictures":
            _pictures(run, stop)
        elif name == "tokenizer":
            assert run.config.text.learned is not None
            run.need(name, "pictures")
            learn_tokenizer(run.bank(), run.config.text.learned.vocab, run.path(name))
        elif name in TRAINED:
            run.need(name, "pictures", "tokenizer")
            if name != "base" and run.config.text.learned is not None:
                run.need(name, "base")  # whose reader it shares
            fit_stage(run, run.task(name), stop)
        else:
            run.need("checkpoint", *TRAINED)
            write_checkpoint(run)

    return in_order(run, STAGES, stages, step, lambda name: name != "checkpoint" and run.finished(name), stop)


def _pictures(run: ImagenRun, stop: Stop) -> None:
    """Draw or read the pictures of the base, and larger ones for the upsampler."""
    data = run.config.data
    for name, size, count in (
        ("pictures", run.config.base.size, data.pictures),
        ("large", run.config.upsampler.size, data.large),
    ):
        with showing(run, name, stop) as progress:
            build_bank(open_source(data.source, size), count, run.path(name), workers(count), progress)

"""`pinxit train imagen`, stage by stage: pictures, tokenizer, texts, the cascade, checkpoint, each resumable."""

from __future__ import annotations

from collections.abc import Sequence

from pinxit.data.bank import Bank, build_bank
from pinxit.data.embeddings import build_embeddings
from pinxit.data.sources import WORLD, open_training
from pinxit.recipes.diffusion.task import TEXT
from pinxit.recipes.imagen.release import write_checkpoint
from pinxit.recipes.imagen.run import ImagenRun, bank_of, texts_of
from pinxit.recipes.staging import Ended, fit_stage, in_order, learn_tokenizer, showing, workers
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.precision import pick_device
from pinxit.training.stop import Stop

AT_ONCE, AT_ONCE_GPU = 32, 256  # captions


def train(run: ImagenRun, stages: Sequence[str] | None = None, stop: Stop | None = None) -> Ended:
    """Run `stages` (None: all of the run's) in their order as far as time allows.

    Raises UsageError for an unknown one or a changed config.
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
                learn_tokenizer(run.bank(), run.config.text.learned.vocab, run.path(name))
        elif name == "texts":
            run.need(name, "pictures")
            _texts(run, stop)
        elif name in run.config.cascade:
            run.need(name, "pictures", "tokenizer", "texts")
            first = run.config.cascade[0]
            if name != first and run.config.text.learned is not None:
                run.need(name, first)  # whose reader it shares
            task = run.task(name)
            fit_stage(run, task, stop, run.brought(task))
        else:
            run.need("checkpoint", *run.config.cascade)
            write_checkpoint(run)

    every = run.stages
    asked = every if stages is None else stages
    return in_order(run, every, asked, step, lambda name: name != "checkpoint" and run.finished(name), stop)


def _pictures(run: ImagenRun, stop: Stop) -> None:
    """Draw or read the pictures of the base, and larger ones for the upsamplers."""
    data = run.config.data
    for stage in map(run.config.stage, run.learning):
        name, size, count = bank_of(stage.name), stage.size, stage.pictures
        with showing(run, name, stop) as progress:
            names = {"names": data.names} if data.source.startswith(WORLD) else {}  # other pictures have their own
            source = open_training(data.source, size, run.config.seed, **names)
            build_bank(source, count, run.path(name), workers(count), progress)


def _texts(run: ImagenRun, stop: Stop) -> None:
    """Read the captions of all banks, so that the loops need not."""
    config = run.config
    at_once = AT_ONCE if pick_device(run.device).type == "cpu" else AT_ONCE_GPU
    for stage in run.reading:
        bank = Bank.open(run.path(bank_of(stage)))
        with showing(run, f"texts of {bank_of(stage)}", stop) as progress:
            kept, script = config.text.stored, config.data.script
            build_embeddings(bank, run.frozen, run.path(texts_of(stage)), kept, at_once, config.seed, progress, script)

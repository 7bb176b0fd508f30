"""`pinxit train dalle`, stage by stage: pictures, tokenizer, dvae, codes, transformer, clip, checkpoint.

Every stage leaves its results in a folder of the run and goes on from what it finds there, so a run may be killed at
any time, cut into sittings (`minutes`), and repeated without harm.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pinxit.data.bank import build_bank
from pinxit.data.sources import open_source
from pinxit.errors import UsageError
from pinxit.recipes.dalle.encode import encode_bank
from pinxit.recipes.dalle.release import write_checkpoint
from pinxit.recipes.dalle.run import STAGES, TRAINED, DalleRun, StoppedError, check
from pinxit.recipes.dalle.train_clip import GROUP, ClipTask
from pinxit.recipes.dalle.train_dvae import DVAETask
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.loop import Task, fit
from pinxit.training.stop import Stop

LEARNT_FROM = 200_000  # pictures whose captions the tokenizer reads at most
FEW = 1000  # pictures


@dataclass(frozen=True)
class Ended:
    """How a sitting ended: which stages are finished now, and whether a signal ended it."""

    finished: tuple[str, ...]
    stopped: bool
    signalled: bool


def train(run: DalleRun, stages: Sequence[str] = STAGES, stop: Stop | None = None) -> Ended:
    """Run `stages` in their order as far as time allows; what is finished already is passed over.

    Raises UsageError for an unknown stage, a config that no longer fits the run, or a stage whose forerunners are
    missing; PinxitError for a disk that is full.
    """
    for name in stages:
        if name not in STAGES:
            raise UsageError(f"there is no stage '{name}'; choose from {', '.join(STAGES)}.")
    stop = stop or Stop()
    run.enter()
    try:
        for name in (name for name in STAGES if name in stages):
            check(stop)
            if name not in TRAINED or not run.finished(name):
                STEPS[name](run, stop)
            _say(run, f"{name}: finished")
    except StoppedError as ending:
        _say(run, f"stopped; the same command goes on from here ({run.folder})")
        return Ended(_finished(run), True, ending.signalled)
    return Ended(_finished(run), False, False)


def pictures(run: DalleRun, stop: Stop) -> None:
    """Draw or read the pictures of the dVAE and the transformer; for worlds also those of CLIP, neighbours together."""
    data = run.config.data
    source = open_source(data.source, data.size)
    with _showing(run, "pictures", stop) as progress:
        build_bank(source, data.pictures, run.path("pictures"), _workers(data.pictures), progress)
    if run.grouped:
        world = open_source(data.source, data.size, group=GROUP)
        with _showing(run, "ranking", stop) as progress:
            build_bank(world, data.ranking, run.path("ranking"), _workers(data.ranking), progress)


def tokenizer(run: DalleRun, stop: Stop) -> None:
    """Learn the text tokens from the captions, or take over those of the checkpoint that the run starts from."""
    if run.finished("tokenizer"):
        return
    if run.init is not None:
        Tokenizer.open(run.init.folder).save(run.path("tokenizer"))
        return
    run.need("tokenizer", "pictures")
    captions = run.bank().captions
    texts = (text for index in range(min(len(captions), LEARNT_FROM)) for text in captions[index])
    Tokenizer.train(texts, run.config.vocab).save(run.path("tokenizer"))


def dvae(run: DalleRun, stop: Stop) -> None:
    """Train the discrete VAE."""
    run.need("dvae", "pictures")
    _fit(run, DVAETask(run.config, run.bank()), stop)


def codes(run: DalleRun, stop: Stop) -> None:
    """Turn every picture of the bank into codes."""
    run.need("codes", "pictures", "dvae")
    with _showing(run, "codes", stop) as progress:
        encode_bank(run, progress)


def transformer(run: DalleRun, stop: Stop) -> None:
    """Train the token transformer."""
    run.need("transformer", "tokenizer", "codes")
    task = TransformerTask(run.config, run.codes(), run.bank().captions, run.tokenizer(), run.dvae())
    _fit(run, task, stop)


def clip(run: DalleRun, stop: Stop) -> None:
    """Train the ranker."""
    redrawn = run.config.noise.redrawn > 0
    run.need("clip", "pictures", "tokenizer", *(["dvae"] if redrawn else []))
    dvae = run.dvae() if redrawn else None
    _fit(run, ClipTask(run.config, run.ranking_bank(), run.tokenizer(), dvae, run.grouped), stop)


def checkpoint(run: DalleRun, stop: Stop) -> None:
    """Write what `pinxit paint` opens."""
    run.need("checkpoint", "tokenizer", "dvae", "transformer", "clip")
    write_checkpoint(run)


STEPS: dict[str, Callable[[DalleRun, Stop], None]] = {
    "pictures": pictures,
    "tokenizer": tokenizer,
    "dvae": dvae,
    "codes": codes,
    "transformer": transformer,
    "clip": clip,
    "checkpoint": checkpoint,
}


def _workers(count: int) -> int | None:
    """All cores, but none but this one where starting the others would take longer than the work."""
    return 1 if count <= FEW else None


def _fit(run: DalleRun, task: Task, stop: Stop) -> None:
    init = None if run.init is None else {task.name: _floats(run.init.state(task.name))}
    folder, plan = run.path(task.name), run.plan(task.name)
    outcome = fit(task, plan, folder, run.device, run.progress, stop=stop, init=init)
    if not outcome.finished:
        raise StoppedError(outcome.signalled)


def _floats(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _finished(run: DalleRun) -> tuple[str, ...]:
    return tuple(name for name in STAGES if run.finished(name))


@contextmanager
def _showing(run: DalleRun, name: str, stop: Stop) -> Iterator[Callable[[int, int], None]]:
    """A progress function for work that is not a training loop; it leaves by `StoppedError` when it is time."""
    from rich.console import Console
    from rich.progress import Progress

    with stop.listening(), Progress(console=Console(stderr=True), disable=not _terminal(run)) as bar:
        line = bar.add_task(name)

        def show(done: int, total: int) -> None:
            bar.update(line, completed=done, total=total)
            check(stop)

        yield show


def _terminal(run: DalleRun) -> bool:
    return run.progress and sys.stderr.isatty()


def _say(run: DalleRun, message: str) -> None:
    if run.progress:
        print(message, file=sys.stderr, flush=True)

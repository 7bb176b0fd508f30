"""What recipes that train in stages share: the stages' order, progress, stopping, and resuming from a run folder."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from torch import nn

from pinxit.data.bank import Bank, build_bank
from pinxit.data.bank_layout import MANIFEST
from pinxit.data.sources import open_training
from pinxit.data.stream_builder import build_stream
from pinxit.data.streams import Stream, open_pictures
from pinxit.errors import DataError, UsageError
from pinxit.locks import folder_lock
from pinxit.text.tokenizers import Tokenizer
from pinxit.training import state as states
from pinxit.training.initial import in_shards
from pinxit.training.loop import Task, Weights, fit
from pinxit.training.lora import check_adapts
from pinxit.training.parallel import Ranks, join_ranks
from pinxit.training.plan import Plan
from pinxit.training.precision import pick_device
from pinxit.training.stop import Stop
from pinxit.types import Dataset

Config = TypeVar("Config")
Module = TypeVar("Module", bound=nn.Module)

FEW = 1000  # pictures, for which starting worker processes takes longer than the work
TOKENIZER_PICTURES = 200_000  # whose captions a tokenizer is trained on at most


@dataclass(frozen=True)
class RunOutcome:
    """How an invocation ended: the stages that are finished now, and whether it was stopped, and by a signal."""

    finished: tuple[str, ...]
    stopped: bool
    signalled: bool


class StoppedError(Exception):
    """A stage was asked to stop and did; what it has done so far is kept."""

    def __init__(self, signalled: bool) -> None:
        super().__init__()
        self.signalled = signalled


def check(stop: Stop) -> None:
    """Raise StoppedError when it is time to stop. For stages that are not training loops."""
    if stop.due():
        raise StoppedError(stop.signalled)


@dataclass(frozen=True)
class Run(ABC, Generic[Config]):
    """A run folder, one folder in it for every stage, and how this process works on it."""

    MARKS: ClassVar[dict[str, str]] = {"pictures": MANIFEST, "tokenizer": "words.json", "checkpoint": "pinxit.json"}
    """Of the stages that do not train: the file that each writes last, whose presence means that it is finished."""

    folder: Path
    config: Config
    device: str = "auto"
    progress: bool = True

    @abstractmethod
    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used."""

    def path(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.folder / stage

    def plan(self, stage: str) -> Plan:
        """The plan of a stage that trains."""
        config: Any = self.config
        plan = getattr(config.plans, stage) if hasattr(config, "plans") else config.plan
        assert isinstance(plan, Plan)
        return plan

    def started(self, stage: str) -> bool:
        """Whether a stage that trains has begun."""
        return states.exists(self.path(stage))

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do; with a plan of 0 images, as soon as its initial weights are saved."""
        if stage in self.MARKS:
            return (self.path(stage) / self.MARKS[stage]).is_file()
        return self.started(stage) and states.read_progress(self.path(stage)).images >= self.plan(stage).images

    def need(self, stage: str, *earlier: str) -> None:
        """Raise UsageError when a stage that `stage` builds on is not finished."""
        for name in earlier:
            if not self.finished(name):
                raise UsageError(f"stage {stage} builds on stage {name}, which is not finished in {self.folder}.")

    def bank(self) -> Bank:
        """The pictures that the stages learn from."""
        return Bank.open(self.path("pictures"))

    def pictures(self, folder: str = "pictures") -> Bank | Stream:
        """The pictures of `bank`, or of a stream, where stages read shards as they train."""
        return open_pictures(self.path(folder))

    def brought(self, task: Task) -> Weights | None:
        """Initial weights for the modules of `task`; None where the task's own are used."""
        return None

    def averaged(self, stage: str, module: Module) -> Module:
        """`module` with the averaged weights of a stage, ready for use."""
        module.load_state_dict(states.read_weights(self.path(stage), stage))
        module.eval().requires_grad_(False)
        return module


def run_in_order(
    run: Run[Any],
    every: Sequence[str],
    asked: Sequence[str],
    step: Callable[[str, Stop], None],
    skip: Callable[[str], bool],
    stop: Stop | None = None,
) -> RunOutcome:
    """Do the stages `asked` in the order of `every` as far as time allows, except those that `skip` says are done.

    Raises UsageError for an unknown stage, a config that no longer fits the run, or while another command trains in
    the same folder, and what `step` raises.
    """
    check_names(every, asked)
    ranks, stop = join_ranks(), stop or Stop()
    with run_entered(run.folder, run.enter, ranks):
        return _stages(run, every, asked, step, skip, stop, ranks)


@contextmanager
def run_entered(folder: Path, enter: Callable[[], None], ranks: Ranks) -> Iterator[None]:
    """Inside the block the run in `folder` is this command's; every rank has called `enter`, rank 0 first.

    Raises UsageError while another command trains there, and what `enter` raises.
    """
    with folder_lock(folder, f"the run {folder}") if ranks.lead else nullcontext():
        if ranks.lead:
            enter()
        ranks.wait()
        if not ranks.lead:
            enter()  # reads what rank 0 has written
        yield


def _stages(
    run: Run[Any],
    every: Sequence[str],
    asked: Sequence[str],
    step: Callable[[str, Stop], None],
    skip: Callable[[str], bool],
    stop: Stop,
    ranks: Ranks,
) -> RunOutcome:
    try:
        for name in (name for name in every if name in asked):
            if ranks.agreed(stop.due()):
                raise StoppedError(ranks.agreed(stop.signalled))
            if not ranks.agreed(skip(name)):
                _step(name, stop, step, ranks, alone=name in run.MARKS)
            say(run, f"{name}: finished")
    except StoppedError as ending:
        say(run, f"stopped; the same command goes on from here ({run.folder})")
        return RunOutcome(_finished(run, every), True, ending.signalled)
    return RunOutcome(_finished(run, every), False, False)


def _step(name: str, stop: Stop, step: Callable[[str, Stop], None], ranks: Ranks, alone: bool) -> None:
    """Do a stage on all ranks, or, if it does not train (`alone`), on rank 0 while the others wait."""
    if not alone:
        return step(name, stop)
    ended: StoppedError | None = None
    try:
        if ranks.lead:
            step(name, stop)
    except StoppedError as error:
        ended = error
    if ranks.agreed(ended is not None):
        raise StoppedError(ranks.agreed(ended is not None and ended.signalled))
    return None


def check_names(every: Sequence[str], asked: Sequence[str]) -> None:
    """Raise UsageError for a stage that does not exist."""
    for name in asked:
        if name not in every:
            raise UsageError(f"there is no stage '{name}'; choose from {', '.join(every)}.")


def fit_stage(run: Run[Any], stage: str, build: Callable[[], Task], stop: Stop) -> None:
    """Train the task that `build` makes from where it stopped, or else from the weights that the run starts from.

    Raises StoppedError when time runs out, and UsageError for a LoRA of weights that are random.
    """
    plan = run.plan(stage)
    with in_shards(join_ranks(pick_device(run.device)), plan.shard):
        task = build()
    init = run.brought(task)
    if not run.started(stage):
        check_adapts(stage, plan.lora, task.modules(), init)
    outcome = fit(task, plan, run.path(stage), run.device, run.progress, stop=stop, init=init)
    if not outcome.finished:
        raise StoppedError(outcome.signalled)


@contextmanager
def progress_callback(run: Run[Any], name: str, stop: Stop) -> Iterator[Callable[[int, int], None]]:
    """A progress function for work that is not a training loop; it raises StoppedError when it is time to stop."""
    from rich.console import Console
    from rich.progress import Progress

    hidden = not (run.progress and sys.stderr.isatty())
    with stop.listening(), Progress(console=Console(stderr=True), disable=hidden) as bar:
        line = bar.add_task(name)

        def show(done: int, total: int) -> None:
            bar.update(line, completed=done, total=total)
            check(stop)

        yield show


def store_bank(run: Run[Any], name: str, source: Dataset, count: int, stop: Stop) -> None:
    """Draw or read the first `count` pictures of `source` into the bank `name` of the run."""
    with progress_callback(run, name, stop) as progress:
        build_bank(source, count, run.path(name), workers(count), progress)


def prepare_pictures(run: Run[Any], stop: Stop, **options: Any) -> None:
    """Stage `pictures` of a run that has one size of them: a bank, or a stream. `options`: of its world.

    As long as the data can be opened, stored pictures are compared with them; where they cannot be any more and the
    stage is finished, it says so. Raises what `open_training` does.
    """
    data = run.config.data
    if data.stream:
        with progress_callback(run, "shards", stop) as progress:
            build_stream(data.source, data.size, data.pictures, run.path("pictures"), progress)
        return
    try:
        source = open_training(data.source, data.size, run.config.seed, **options)
    except DataError as error:
        if not run.finished("pictures"):
            raise
        say(run, f"pictures: the stored ones are used, as the data are not there any more ({error})")
        return
    store_bank(run, "pictures", source, data.pictures, stop)


def learn_tokenizer(bank: Bank | Stream, vocab: int, folder: Path, spell: bool = False) -> None:
    """Learn `vocab` text tokens from the captions of a bank's first pictures, and save them in `folder`."""
    texts = (text for index in range(min(len(bank), TOKENIZER_PICTURES)) for text in bank.captions[index])
    Tokenizer.train(texts, vocab, spell).save(folder)


def workers(count: int) -> int | None:
    """How many processes to work with: None is one per core; 1 where starting them would take longer than the work."""
    return 1 if count <= FEW else None


def say(run: Run[Any], message: str) -> None:
    """A line on stderr, unless the run is quiet."""
    if run.progress and join_ranks().lead:
        print(message, file=sys.stderr, flush=True)


def _finished(run: Run[Any], every: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in every if run.finished(name))

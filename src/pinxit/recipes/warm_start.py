"""Runs that may begin with the weights of a checkpoint: `--init-from` for every recipe that has it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NotRequired, TypedDict, TypeVar

import torch

from pinxit.errors import DataError, UsageError
from pinxit.files import read_json, write_json
from pinxit.recipes.published import Published
from pinxit.recipes.run_sidecars import check_sidecars
from pinxit.recipes.staging import Run
from pinxit.training.loop import Task, Weights, check_weights, missing_weights
from pinxit.training.lora import check_adapts, check_rank
from pinxit.training.parallel import Ranks, join_ranks
from pinxit.training.state import read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pinxit.recipes.estimate import Stage
    from pinxit.recipes.published import Start

START = "start.json"  # in the run's folder: hash, parts and provenance of the checkpoint that it started from

Config = TypeVar("Config")


class _Start(TypedDict):
    checkpoint: str | None  # None: a judge that was started from nothing
    parts: NotRequired[list[str]]
    grow: NotRequired[bool]  # whether its models are grown to those of the run
    images: NotRequired[int]  # that a judge had seen
    stages: NotRequired[dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class StartingRun(Run[Config]):
    """A run whose new stages take their initial weights, and the tokenizer, from `init` where one is given."""

    GROWS: ClassVar[frozenset[str]] = frozenset()
    """Stages whose model may be larger than the weights that it starts from."""

    init: Start | None = None

    @property
    @abstractmethod
    def trained(self) -> Sequence[str]:
        """The stages that train."""

    def check_start(self) -> None:
        """Raise UsageError unless the whole run starts from the same checkpoint, or all of it from none.

        Otherwise the provenance could not say where the weights of a stage came from.
        """
        begun = [self.started(stage) for stage in self.trained]
        learned = (self.path("tokenizer") / self.MARKS["tokenizer"]).is_file()
        check_start(self.folder, self.init, any(begun) or learned, all(begun))

    def note_start(self) -> None:
        """Store which checkpoint the run starts from, once (again for a run of before its parts were stored)."""
        note_start(self.folder, self.init)

    def start(self) -> dict[str, Any]:
        """Hash, parts and provenance of the checkpoint that the run started from; empty where it has random weights."""
        return read_start(self.folder)

    def brought(self, task: Task) -> Weights | None:
        """The checkpoint's weights for the modules of `task` that it has; None where there is no checkpoint."""
        if self.init is None:
            return None
        return {name: self.init.state(name) for name in task.modules() if name in self.init.parts}

    def lacks(self, task: Task) -> list[str]:
        """The weights of `task`, "module/name", that the checkpoint lacks or has only a part of; none without one.

        Of a stage that has begun, those that are trained themselves beside a LoRA.
        """
        if self.started(task.name):
            return read_whole(self.path(task.name))
        brought, modules = self.brought(task) or {}, task.modules()
        return [key for name, values in brought.items() for key in missing_weights(modules[name], name, values)]

    def grows(self, stage: str) -> bool:
        """Whether its model is grown to what the config says, so that any weights fit."""
        return self.init is not None and stage in self.GROWS

    def before(self, stage: str) -> dict[str, Any]:
        """That checkpoint's record of a stage: pictures seen, hours, machine, last metrics; empty where it has none."""
        origin: dict[str, Any] = self.start().get("stages", {}).get(stage, {})
        return origin


def check_start(folder: Path, init: Start | None, begun: bool, whole: bool) -> None:
    """Raise UsageError unless the run in `folder` goes on from the checkpoint that it was started from.

    `begun`: whether a stage has taken its weights or tokens; `whole`: whether all have, so that none needs `init`.
    """
    before, now = read_start(folder).get("checkpoint"), None if init is None else init.hash
    if before is None and now is not None and begun:
        raise UsageError(
            f"{folder} was started from nothing, not from checkpoint {now}; "
            "leave --init-from out or train into another folder."
        )
    if before is not None and now is None and not whole:
        raise UsageError(f"{folder} was started from checkpoint {before}: give it again with --init-from.")
    if before is not None and now is not None and not _known_as(init, before):
        raise UsageError(
            f"{folder} was started from checkpoint {before}, not {now}; give the old one or train into another folder."
        )


def _known_as(init: Start | None, name: str) -> bool:
    """Whether a run that was started from checkpoint `name` was started from `init`."""
    return init is not None and (init.known_as(name) if isinstance(init, Published) else init.hash == name)


def note_start(folder: Path, init: Start | None, **more: bool) -> None:
    """Store in the run's folder which checkpoint it starts from, and `more` about how, once.

    Again where a run of an earlier version has not stored the checkpoint's parts.
    """
    if init is None or "parts" in (before := read_start(folder)):
        return
    about = before if before.get("checkpoint") else {"checkpoint": init.hash, **init.provenance, **more}
    write_json(folder / START, {**about, "parts": list(init.parts)})


def read_start(folder: Path) -> dict[str, Any]:
    """Hash, parts and provenance of the checkpoint that a run started from; empty for a run with random weights."""
    if not (folder / START).is_file():
        return {}
    return dict(read_json(folder / START, _Start, DataError, "restore it, or train into another folder"))


def _check_shares(stage: Stage, ranks: Ranks) -> None:
    with torch.device("meta"):
        task = stage.build()
    try:
        ranks.piece(task, stage.plan)
    except UsageError as error:
        raise UsageError(f"{stage.name}: {error}") from error


def check_fits(run: StartingRun[Any], stages: Iterable[Stage]) -> None:
    """Check now, before any data is prepared, what each new stage would otherwise refuse hours later.

    Raises CheckpointError for initial weights of another model, and UsageError for a LoRA of random weights
    or of a rank that is too large for every matrix, for another checkpoint than the run was started from, for a batch
    that the ranks cannot share, or for sidecars that are not there.
    """
    run.check_start()
    stages, ranks = list(stages), join_ranks()
    if not all(run.finished(stage.name) for stage in stages):
        check_sidecars(run)
    for stage in stages:
        if ranks.world > 1 and not run.finished(stage.name):
            _check_shares(stage, ranks)
        if run.started(stage.name) or not (run.init or stage.plan.lora):
            continue
        with torch.device("meta"):
            task = stage.build()
        brought = None if run.grows(stage.name) else run.brought(task)
        for name, values in (brought or {}).items():
            check_weights(task.modules()[name], name, values)
        if not run.grows(stage.name):
            check_adapts(stage.name, stage.plan.lora, task.modules(), brought)
        if stage.plan.lora:
            check_rank(task.modules(), stage.plan.lora, run.lacks(task))

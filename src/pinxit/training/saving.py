"""Writing a training state to disk: into one file, or if it is sharded, each rank's rows into a file of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pinxit.errors import PinxitError
from pinxit.training.local import is_sharded, local, span
from pinxit.training.parallel import Ranks
from pinxit.training.saved_state import BEFORE, FILE, FOLDER, name_of, saves_of
from pinxit.weights.tensor_files import write_tensors

KEPT = 2  # saves of a sharded state
PART = "part-"  # name prefix of a save that is not complete yet, or is being deleted


@dataclass(frozen=True)
class Saving:
    """A save in two phases: every rank writes its part, then rank 0 makes the whole valid by a rename."""

    write: Callable[[], None]  # write this rank's part, on any thread
    complete: Callable[[], None]  # call it when all ranks have written
    ranks: Ranks

    def at_once(self) -> None:
        """Write and finish. Raises PinxitError on every rank if any of them cannot write."""
        error = None
        try:
            self.write()
        except PinxitError as found:
            error = found
        self.finish(error)

    def finish(self, error: PinxitError | None = None) -> None:
        """Complete the save, unless writing failed on some rank (`error`: on this one): then raise on all of them."""
        if self.ranks.agreed(error is not None):
            raise error or PinxitError("another rank could not write its part of the state: see its own message.")
        self.complete()


def saving_whole(folder: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str], copies: bool) -> Saving:
    """A save into one file; `copies`: of tensors that may change before it is written.

    Once the file and its predecessor are there, older saves by ranks are deleted.
    """
    held = {name: tensor.detach().to("cpu", copy=copies).contiguous() for name, tensor in tensors.items()}

    def write() -> None:
        write_tensors(folder / FILE, held, notes, folder / BEFORE)
        if (folder / BEFORE).exists():
            for save in saves_of(folder):
                _drop(save)

    return Saving(write, lambda: None, Ranks())


def saving_by_ranks(
    folder: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str], ranks: Ranks, copies: bool
) -> Saving:
    """A save into a new folder: a file with each rank's shards, and in that of rank 0 also what is not sharded.

    All ranks must call this together. `copies`: see `saving_whole`.
    """
    held: dict[str, Tensor] = {}
    rows: dict[str, tuple[int, int]] = {}  # of each shard: its first row, and the rows of the whole tensor
    for name, tensor in tensors.items():
        if is_sharded(tensor):
            start, stop = span(tensor)
            if start == stop:
                continue
            rows[name] = start, tensor.shape[0]
        elif not ranks.lead:
            continue
        held[name] = local(tensor).detach().to("cpu", copy=copies).contiguous()
    if ranks.lead:
        for left in folder.glob(f"{FOLDER}/{PART}*"):
            shutil.rmtree(left, ignore_errors=True)
    number = ranks.broadcast(1 + max((int(save.name) for save in saves_of(folder)), default=0))
    place, growing = folder / FOLDER / f"{number:06d}", folder / FOLDER / f"{PART}{number:06d}"

    def write() -> None:
        write_tensors(growing / name_of(ranks.rank, ranks.world), held, {**notes, "rows": json.dumps(rows)})

    def complete() -> None:
        if not ranks.lead:
            return
        try:
            growing.rename(place)
            saves = saves_of(folder)
            for save in saves[:-KEPT]:
                _drop(save)
            for name in (FILE, BEFORE) if len(saves) >= KEPT else ():
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise PinxitError(f"cannot write {place}: {error.strerror or error}.") from error

    return Saving(write, complete, ranks)


def _drop(save: Path) -> None:
    """Delete a save; renamed first, so that a half-deleted one never looks complete."""
    gone = save.with_name(f"{PART}{save.name}")
    save.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)

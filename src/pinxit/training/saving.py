"""How a state gets onto the disk: whole into one file, or each rank's rows into a file of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pinxit.errors import PinxitError
from pinxit.training.local import is_cut, local, span
from pinxit.training.parallel import Ranks
from pinxit.training.stored import BEFORE, FILE, FOLDER, name_of, saves_of
from pinxit.weights.tensor_files import write_tensors

KEPT = 2  # saves
PART = "part-"  # before the name of a save that is not complete, or not any more


@dataclass(frozen=True)
class Saving:
    """A save that has begun."""

    write: Callable[[], None]  # this rank's part, on any thread
    complete: Callable[[], None]  # what is left to do when all have written
    ranks: Ranks

    def at_once(self) -> None:
        """Write and finish."""
        error = None
        try:
            self.write()
        except PinxitError as found:
            error = found
        self.finish(error)

    def finish(self, error: PinxitError | None = None) -> None:
        """Make it the state that counts, unless writing ended in an `error` on some rank, which is raised on all."""
        if self.ranks.agreed(error is not None):
            raise error or PinxitError("another rank could not write its part of the state, as it tells itself.")
        self.complete()


def saving_whole(folder: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str], copies: bool) -> Saving:
    """Into one file, by whoever asks. What ranks wrote before goes when two such files are there."""
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
    """Into a new folder, each rank what it holds; rank 0 besides what is not cut. All ranks come here together."""
    held: dict[str, Tensor] = {}
    rows: dict[str, tuple[int, int]] = {}  # the first of these, and how many there are in all
    for name, tensor in tensors.items():
        if is_cut(tensor):
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
    number = ranks.told(1 + max((int(save.name) for save in saves_of(folder)), default=0))
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
    """Remove a save; at no moment does half of one look whole."""
    gone = save.with_name(f"{PART}{save.name}")
    save.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)

"""The bank: examples rendered or read once, on all cores, into a folder that every training stage memory-maps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.config import from_dict
from pinxit.data.bank_builder import BankBuilder
from pinxit.data.bank_layout import AGAIN, CAPTIONS, FACTS, PARTS, PICTURES, PROBLEMS, read_manifest
from pinxit.data.jsonl import Captions, MappedLines
from pinxit.data.order import order_batch
from pinxit.data.problems import Problem, Problems
from pinxit.data.stream_order import Rows
from pinxit.errors import DataError
from pinxit.files import parse_json
from pinxit.types import Dataset, Example

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Bank:
    """A finished bank. `pictures` is a memory map (or an array in memory), `captions[i]` a tuple of strings."""

    folder: Path
    about: dict[str, Any]  # bank.json: format, version, source, count (asked for), items (kept), size, sample
    pictures: NDArray[np.uint8]
    captions: Captions
    _facts: MappedLines | None
    held_out: int = 0  # items at the end that are never trained on

    @classmethod
    def open(cls, folder: Path | str, in_memory: bool = False, held_out: int = 0) -> Bank:
        """Open a bank; `in_memory` reads all pictures at once. Raises DataError when it is unfinished or damaged."""
        folder = Path(folder)
        about = read_manifest(folder)
        try:
            pictures = np.load(folder / PICTURES, mmap_mode=None if in_memory else "r", allow_pickle=False)
            captions = Captions(folder / CAPTIONS)
            facts = MappedLines(folder / FACTS) if (folder / FACTS).exists() else None
        except (OSError, ValueError) as error:
            raise DataError(f"the bank {folder} is damaged ({error}); {AGAIN}.") from error
        lengths = {len(pictures), len(captions), len(facts) if facts is not None else len(captions)}
        if lengths != {about["items"]}:
            raise DataError(f"the bank {folder} is damaged: its files differ in length; {AGAIN}.")
        place = folder.absolute()  # a program may change its working directory
        return cls(place, about, pictures, captions, facts, held_out)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of a bank of {len(self)}.")
        picture = np.array(self.pictures[index])
        return Example(picture, self.captions[index], f"{self.folder.name}/{index}", self._scene(index))

    def holding_out(self, count: int) -> Bank:
        """This bank with its last `count` items held out."""
        return replace(self, held_out=count)

    def order(self, rows: Rows, seed: int) -> NDArray[np.int64]:
        """The items (int64 [count]) of these rows of an update, in the order of `data.order`.

        Held-out items are never among them.
        """
        return order_batch(rows.first + rows.start, rows.count, len(self) - self.held_out, seed)

    @property
    def size(self) -> int:
        """The side of the pictures in pixels."""
        return int(self.about["size"])

    @property
    def problems(self) -> Problems:
        """What was skipped when the bank was built."""
        path = self.folder / PROBLEMS
        entries = (parse_json(line, tuple[str, str], str(path), DataError, AGAIN) for line in MappedLines(path))
        return Problems(Problem(key, reason) for key, reason in entries)

    def facts(self, index: int) -> dict[str, Any] | None:
        """The facts of an item as plain JSON values (quick to read); None if its source has none."""
        if self._facts is None:
            return None
        where = f"{self.folder / FACTS}, line {1 + index % len(self)}"
        kind: Any = dict[str, Any] | None
        facts: dict[str, Any] | None = parse_json(self._facts[index], kind, where, DataError, AGAIN)
        return facts

    def identity(self) -> dict[str, Any]:
        """What identifies the data of this bank."""
        return {"kind": "bank"} | {name: self.about[name] for name in ("source", "items", "size", "sample")}

    def __reduce__(self) -> tuple[Any, ...]:
        return Bank.open, (self.folder, False, self.held_out)  # another process maps the files itself

    def _scene(self, index: int) -> Any:
        facts = self.facts(index)
        if facts is None or self.about["facts"] != "Scene":
            return facts
        from pinxit.world.scene import Scene

        return from_dict(Scene, facts, f"{self.folder / FACTS}, line {index + 1}")


def build_bank(
    dataset: Dataset,
    count: int | None,
    folder: Path | str,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bank:
    """Draw or read the first `count` items of `dataset` (None: all; never more than it has) into the bank `folder`.

    Runs in `workers` processes (None: one a core) and may be killed at any time: the same call goes on where it
    stopped, and returns at once when the bank is finished. `progress(done, count)` is called now and then. Items that
    cannot be used are skipped, listed in `bank.problems` and logged to the logger "pinxit". Raises UsageError for a
    count that is no whole number, DataError when `folder` holds a bank of other data, or anything else, or when no item
    is usable; PinxitError when the disk is full.
    """
    builder = BankBuilder.plan(dataset, count, Path(folder))
    if not builder.finished:
        builder.build(workers, progress)
    shutil.rmtree(Path(folder) / PARTS, ignore_errors=True)
    bank = Bank.open(folder)
    bank.problems.log()
    return bank

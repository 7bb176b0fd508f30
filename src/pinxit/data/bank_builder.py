"""How a bank is built: every worker writes its chunks straight into pictures.npy, and a part file for each.

A part file marks its chunk as done. It has a line of JSON (`_Head`), then the kept items' captions, then their facts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np

from pinxit import __version__
from pinxit.data import npy
from pinxit.data.bank_layout import AGAIN, CAPTIONS, FACTS, FORMAT, MANIFEST, PARTS, PICTURES, PROBLEMS, read_manifest
from pinxit.data.identity import differences, fingerprint, first_readable, identity
from pinxit.data.jsonl import json_line
from pinxit.data.pool import cores, parallel_map
from pinxit.data.problems import Problem, read
from pinxit.errors import DataError
from pinxit.files import atomic_file, parse_json, read_json, write_bytes, write_json
from pinxit.schema import Whole, checked, plain_number
from pinxit.texts import counted
from pinxit.types import Dataset, Example

PLAN = "plan.json"
SMALLEST_CHUNK, LARGEST_CHUNK = 16, 256  # items; every chunk costs two flushes to the disk


@dataclass(frozen=True)
class BankChunks:
    """What a worker needs to fill any chunk."""

    dataset: Dataset
    folder: Path
    count: int
    size: int
    chunk: int  # items per chunk, the last one shorter

    def part(self, number: int) -> Path:
        """The part file of a chunk."""
        return self.folder / PARTS / f"{number:07d}.jsonl"

    def span(self, number: int) -> range:
        """The items of a chunk."""
        return range(number * self.chunk, min((number + 1) * self.chunk, self.count))

    def shape(self, count: int) -> tuple[int, ...]:
        """The shape of an array of `count` pictures."""
        return (count, self.size, self.size, 3)

    @property
    def number(self) -> int:
        """How many chunks there are."""
        return -(-self.count // self.chunk)


@dataclass(frozen=True)
class BankBuilder:
    """A bank to be built, or one that is finished already."""

    chunks: BankChunks
    about: dict[str, Any]
    finished: bool

    @classmethod
    def plan(cls, dataset: Dataset, count: int | None, folder: Path) -> BankBuilder:
        """Compare what is in `folder` with what is asked for. Raises DataError if it holds anything else."""
        count = len(dataset) if count is None else min(checked(Whole, plain_number(count), "count"), len(dataset))
        if count < 1:
            raise DataError(f"the bank {folder} needs at least one item.")
        sample = first_readable(dataset, count)
        size = _side(sample)
        about = {
            "format": FORMAT,
            "version": __version__,
            "source": identity(dataset),
            "count": count,
            "size": size,
            "sample": fingerprint(sample),
            "facts": type(sample.facts).__name__ if _is_record(sample.facts) else None,
        }
        finished = (folder / MANIFEST).exists()
        if finished:
            _compare(read_manifest(folder), about, folder)
        elif (folder / PARTS / PLAN).exists():
            _compare(read_json(folder / PARTS / PLAN, dict, DataError, AGAIN), about, folder)
        elif folder.exists() and any(
            path.name not in (PARTS, PICTURES) and not path.name.startswith(".") for path in folder.iterdir()
        ):
            raise DataError(f"{folder} is not empty and holds no bank; choose another folder.")
        chunk = max(SMALLEST_CHUNK, min(LARGEST_CHUNK, count // 64))
        return cls(BankChunks(dataset, folder, count, size, chunk), about, finished)

    def build(self, workers: int | None, progress: Callable[[int, int], None] | None) -> None:
        """Fill the missing chunks and merge the parts."""
        chunks = self.chunks
        pending = [number for number in range(chunks.number) if not chunks.part(number).exists()]
        npy.check_room(chunks.folder, npy.size_of(np.uint8, chunks.shape(len(pending) * chunks.chunk)), "the bank")
        if not (chunks.folder / PARTS / PLAN).exists():
            npy.allocate(chunks.folder / PICTURES, np.uint8, chunks.shape(chunks.count))
            write_json(chunks.folder / PARTS / PLAN, self.about)
        done = chunks.count - sum(len(chunks.span(number)) for number in pending)
        for filled in parallel_map(_fill, chunks, pending, min(workers or cores(), len(pending))):
            done += filled
            if progress is not None:
                progress(done, chunks.count)
        self._finish()

    def _finish(self) -> None:
        chunks, folder = self.chunks, self.chunks.folder
        kept: list[int] = []
        with (
            atomic_file(folder / CAPTIONS) as captions,
            atomic_file(folder / FACTS) as facts,
            atomic_file(folder / PROBLEMS) as problems,
            captions.open("wb") as to_captions,
            facts.open("wb") as to_facts,
            problems.open("wb") as to_problems,
        ):
            for problem in getattr(chunks.dataset, "problems", ()):
                to_problems.write(json_line([problem.key, problem.reason]))
            for number in range(chunks.number):
                kept += _append(chunks.part(number), to_captions, to_facts, to_problems)
        if not kept:
            raise DataError(
                f"nothing is left for the bank {folder}: none of {counted(chunks.count, 'item')} can be used."
            )
        if self.about["facts"] is None:
            (folder / FACTS).unlink()
        _compact(chunks, kept)
        write_json(folder / MANIFEST, self.about | {"items": len(kept)})


def _fill(chunks: BankChunks, number: int) -> int:
    """Write one chunk into its rows of pictures.npy, then its part file; returns the number of its items."""
    span = chunks.span(number)
    pictures = np.zeros((len(span), chunks.size, chunks.size, 3), dtype=np.uint8)
    captions, facts, kept, problems = [], [], [], []
    for place, index in enumerate(span):
        item = read(chunks.dataset, index)
        if isinstance(item, Problem):
            problems.append([item.key, item.reason])
            continue
        if item.picture.shape != pictures.shape[1:]:
            raise DataError(f"{item.key} is a picture of shape {item.picture.shape}, others are {pictures.shape[1:]}.")
        pictures[place] = item.picture
        kept.append(index)
        captions.append(json_line(item.captions))
        facts.append(json_line(_plain(item.facts)))
    npy.write_rows(chunks.folder / PICTURES, span.start, pictures)
    head = json_line({"kept": kept, "problems": problems})
    write_bytes(chunks.part(number), b"".join([head, *captions, *facts]))
    return len(span)


def _plain(facts: Any) -> dict[str, Any] | None:
    return dataclasses.asdict(facts) if _is_record(facts) else None


def _is_record(facts: Any) -> bool:
    return dataclasses.is_dataclass(facts) and not isinstance(facts, type)


class _Head(TypedDict):
    kept: list[Whole]
    problems: list[tuple[str, str]]


def _append(part: Path, captions: BinaryIO, facts: BinaryIO, problems: BinaryIO) -> list[int]:
    """Append the contents of a part file to the bank's files; returns the indices of the kept items."""
    head, *lines = part.read_bytes().splitlines(keepends=True) or [b""]
    numbers = parse_json(head, _Head, str(part), DataError, "delete it and give the same command again")
    kept = numbers["kept"]
    captions.writelines(lines[: len(kept)])
    facts.writelines(lines[len(kept) :])
    problems.writelines(json_line(problem) for problem in numbers["problems"])
    return kept


def _compact(chunks: BankChunks, kept: list[int]) -> None:
    """Close the gaps that skipped items left in pictures.npy."""
    path = chunks.folder / PICTURES
    pictures = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(pictures) == len(kept):
        return
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        handle.write(npy.header(np.uint8, chunks.shape(len(kept))))
        for places in _windows(len(kept)):
            handle.write(pictures[kept[places]].data)


def _windows(length: int, window: int = 1024) -> Iterator[slice]:
    return (slice(start, start + window) for start in range(0, length, window))


def _side(sample: Example) -> int:
    height, width, _ = sample.picture.shape
    if height != width:
        raise DataError(f"a bank holds square pictures; {sample.key} has {width} x {height} pixels.")
    return height


def _compare(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    mismatch = differences({name: old.get(name) for name in new if name != "version"}, {**new, "version": None})
    if mismatch:
        raise DataError(f"{folder} holds a bank of other data: {mismatch}; choose another folder or delete it.")

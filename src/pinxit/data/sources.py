"""Opens any kind of data by a name: the built-in world, labelled datasets, a folder of pictures, tar shards, a bank."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pinxit.data.bank import Bank
from pinxit.data.bank_layout import MANIFEST
from pinxit.data.decode import SUFFIXES
from pinxit.data.fashion import FashionMnist
from pinxit.data.folders import FolderDataset
from pinxit.data.labels import LabelledDataset
from pinxit.data.shards import ShardDataset
from pinxit.errors import DataError, UsageError
from pinxit.files import user_path
from pinxit.types import Dataset

WORLD, DRAWINGS, FASHION = "world:", "drawings:", "fashion-mnist"
TARS = "*.[tT][aA][rR]"  # a folder's shards: Windows may write their ending in capitals
MOST_SIDE = 2**13  # of a square of decode.MOST_PIXELS; much larger ones exhaust the memory of any machine
MOST_FILES = 1_000_000  # the most files that one range of a pattern may name
KINDS = (
    "world:small, world:gallery, world:full, drawings:small, :full or :broad, fashion-mnist, a folder of pictures with "
    ".txt captions, or tar shards (a file, a folder, or a pattern)"
)

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")


def open_source(spec: str | Path, size: int, split: str = "train", **options: Any) -> Dataset:
    """Open the data that `spec` names, with pictures of `size` x `size` pixels.

    - "world:small", "world:gallery", "world:full": the built-in world; `split` is train, seen or unseen;
      options language, seed, group, names, detail
    - "drawings:small", ":full", ":broad": one labelled object a picture; `split` is train, seen or unseen
    - "fashion-mnist", "fashion-mnist:FOLDER": labelled photographs; `split` is train or test
    - a folder: pictures with same-named .txt captions at any depth, or tar shards at its top, or a bank
    - a .tar file, or a pattern such as "data/{00000..00007}.tar" or "data/*.tar"

    Raises UsageError for a request that makes no sense, DataError for data that is not there or cannot be used.
    """
    spec = str(spec)
    if not 1 <= size <= MOST_SIDE:
        raise UsageError(f"pictures need a size from 1 to {MOST_SIDE} pixels, not {size}.")
    if not spec:  # an empty variable of a shell, not the current folder
        raise UsageError(f"the source of the data is empty: name {KINDS}.")
    if spec.startswith(WORLD):
        return _world(spec.removeprefix(WORLD), size, split, options)
    if not options and (spec.startswith(DRAWINGS) or spec.partition(":")[0] == FASHION):
        return open_labelled(spec, size, split)
    if split != "train" or options:
        extra = ", ".join(["splits"] * (split != "train") + sorted(options))
        raise UsageError(f"only the world has {extra}; {spec} is your own data.")
    path = user_path(spec)
    if os.path.isdir(path):  # noqa: PTH112  # a pattern may be longer than a name can be, at which Path.is_dir raises
        return _folder(path, size)
    if os.path.isfile(path) and path.suffix.lower() != ".tar":  # noqa: PTH113
        raise DataError(f"{spec} is not a .tar file; a source is {KINDS}.")
    return ShardDataset(expand_pattern(spec), size)


def open_training(spec: str, size: int, seed: int, **options: Any) -> Dataset:
    """Open the data of a training run; the scenes of a world depend on `seed`. Raises as `open_source` does."""
    if spec.startswith(WORLD):
        options |= {"seed": seed}
    return open_source(spec, size, **options)


def open_labelled(spec: str, size: int, split: str) -> LabelledDataset:
    """Open a source whose pictures have labels. Raises UsageError for any other source, DataError for missing files."""
    if spec.startswith(DRAWINGS):
        from pinxit.data.drawings import Drawings

        chosen: Any = {"preset": spec.removeprefix(DRAWINGS), "split": split, "size": size}
        return Drawings(**chosen)
    name, _, folder = spec.partition(":")
    if name != FASHION:
        raise UsageError(f"{spec} has no labels; labelled data are fashion-mnist and drawings:small, :full or :broad.")
    return FashionMnist(size, split, folder or None)


def _world(preset: str, size: int, split: str, options: dict[str, Any]) -> Dataset:
    from pinxit.world import World

    unknown = sorted(options.keys() - {"language", "seed", "group", "names", "detail"})
    if unknown:
        raise UsageError(
            f"the world has no option {', '.join(unknown)}; it has language, seed, group, names and detail."
        )
    chosen: Any = {"preset": preset, "split": split, "size": size} | options
    return World(**chosen)


def _folder(path: Path, size: int) -> Dataset:
    if (path / MANIFEST).exists():
        bank = Bank.open(path)
        if bank.size != size:
            raise DataError(f"the bank {path} holds pictures of {bank.size} pixels, not {size}.")
        return bank
    tars = sorted(path.glob(TARS))
    if not tars:
        return FolderDataset(path, size)
    loose = next((file for file in path.iterdir() if file.suffix.lower() in SUFFIXES), None)
    if loose is not None:
        raise DataError(f"{path} holds tar shards and loose pictures ({loose.name}); name the shards as {path}/*.tar.")
    return ShardDataset(tars, size)


def expand_pattern(spec: str) -> list[Path]:
    """The files that a path or pattern names. Raises DataError if one is missing or there is none.

    A file whose own name looks like a pattern, such as "data[1].tar", is meant itself.
    """
    paths: list[Path] = []
    whole = str(user_path(spec))
    for text in [whole] if os.path.isfile(whole) else expand_braces(whole):  # noqa: PTH113
        pattern = glob.has_magic(text) and not os.path.isfile(text)  # noqa: PTH113
        matching = [Path(name) for name in sorted(glob.glob(text))] if pattern else [Path(text)]  # noqa: PTH207
        missing = [path for path in matching if not os.path.isfile(path)]  # noqa: PTH113
        if missing or not matching:
            raise DataError(f"there is no file or folder {missing[0] if missing else text}; a source is {KINDS}.")
        paths += matching
    return paths


def expand_braces(text: str) -> Iterator[str]:
    """Expand {000..007} (keeping leading zeros) and {a,b}, leftmost first. Raises DataError for an impossible range."""
    matches = [match for match in (_RANGE.search(text), _CHOICE.search(text)) if match]
    if not matches:
        yield text
        return
    match = min(matches, key=lambda found: found.start())
    if match.re is _RANGE:
        first, last = match.groups()
        if int(first) > int(last):
            raise DataError(f"the pattern {{{first}..{last}}} names no file: write the smaller number first.")
        if int(last) - int(first) >= MOST_FILES:
            raise DataError(f"the pattern {{{first}..{last}}} names more than {MOST_FILES:,} files: cut it into parts.")
        choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        choices = match.group(1).split(",")
    for choice in choices:
        yield from expand_braces(text[: match.start()] + choice + text[match.end() :])

"""Where a saved state is, and how it is read: one file, or one for each rank.

One file: `state.safetensors`, and `state.before.safetensors`, the previous one. By ranks (of a sharded model):
`state/000007` with `rank-0-of-2.safetensors` ..., a folder for each save, which gets its name when all ranks have
written; the two newest are kept. The metadata of every file hold the notes (progress, plan ...). In a rank's file,
`rows` gives for each sharded tensor the first row of the shard and the rows of the whole. `SavedState` reads both
forms, so that a run can be resumed on any number of ranks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pinxit.errors import CheckpointError

FILE, BEFORE = "state.safetensors", "state.before.safetensors"
FOLDER = "state"  # of saves by ranks
SAVE, OF_RANK = re.compile(r"\d{6,}"), re.compile(r"rank-(\d+)-of-(\d+)\.safetensors")
AGAIN = f"put {BEFORE} in its place to go on from the previous save, or remove both to start this stage again"


def saves_of(folder: Path) -> list[Path]:
    """The complete saves by ranks, oldest first."""
    place = folder / FOLDER
    found = [path for path in place.iterdir() if SAVE.fullmatch(path.name)] if place.is_dir() else []
    return sorted(found, key=lambda path: int(path.name))


def name_of(rank: int, world: int) -> str:
    """The name of a rank's file."""
    return f"rank-{rank}-of-{world}.safetensors"


def exists(folder: Path) -> bool:
    """Whether a run has been saved in `folder`."""
    return (folder / FILE).is_file() or bool(saves_of(folder))


def last_saved(run: Path) -> float:
    """When any stage of a run was last saved, as Unix time (the files' modification time); 0 if none was."""
    found = [*run.rglob(FILE), *run.rglob(f"{FOLDER}/*/*.safetensors")]
    return max((path.stat().st_mtime for path in found), default=0.0)


@dataclass(frozen=True)
class TensorSlice:
    """Some rows of a tensor, in an open file."""

    first: int  # of these rows
    length: int  # rows of the whole tensor
    shape: list[int]  # of these rows
    file: Any


class SavedState:
    """The last saved state of a run. Raises CheckpointError if it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.path, self.files, notes = _newest(folder)
        self.notes: dict[str, str] = notes
        self.advice = _advice(self.path)

    @cached_property
    def pieces(self) -> dict[str, list[TensorSlice]]:
        """The parts of each tensor by its name, in the order of rows."""
        found: dict[str, list[TensorSlice]] = {}
        for path in self.files:
            file = self._opened(path)
            rows = json.loads((file.metadata() or {}).get("rows", "{}"))
            for name in file.keys():  # noqa: SIM118  not a dict
                shape = file.get_slice(name).get_shape()
                first, length = rows.get(name, (0, shape[0] if shape else 1))
                found.setdefault(name, []).append(TensorSlice(first, length, shape, file))
        return {name: sorted(pieces, key=lambda piece: piece.first) for name, pieces in found.items()}

    def names(self) -> list[str]:
        """The names of all tensors."""
        return list(self.pieces)

    def shape(self, name: str) -> list[int]:
        """The shape of the whole tensor."""
        piece = self.pieces[name][0]
        return [piece.length, *piece.shape[1:]] if piece.shape else []

    def kind(self, name: str) -> torch.dtype:
        """The dtype of a tensor."""
        piece = self.pieces[name][0]
        few: Tensor = piece.file.get_slice(name)[:1] if piece.shape else piece.file.get_tensor(name)
        return few.dtype

    def read(self, name: str, span: tuple[int, int] | None = None) -> Tensor:
        """A tensor, or its rows (start, stop) of `span`, put together from all files.

        Raises CheckpointError if a file cannot be read or rows are missing.
        """
        pieces = self.pieces[name]
        try:
            if not pieces[0].shape:
                return pieces[0].file.get_tensor(name)  # type: ignore[no-any-return]
            low, high = span or (0, pieces[0].length)
            cuts = [(piece, max(low - piece.first, 0), min(high - piece.first, piece.shape[0])) for piece in pieces]
            parts = [piece.file.get_slice(name)[start:stop] for piece, start, stop in cuts if start < stop]
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}; {self.advice}.") from error
        if sum(map(len, parts)) != high - low:
            raise CheckpointError(f"{self.path} lacks rows of '{name}'; {self.advice}.")
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _opened(self, path: Path) -> Any:
        try:
            return safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}; {self.advice}.") from error


def _newest(folder: Path) -> tuple[Path, list[Path], dict[str, str]]:
    """The path, the files and the notes of the state that has seen the most pictures.

    Both forms may be there, if the run has been sharded for a part of its time.
    """
    saves = saves_of(folder)
    found = []
    if (folder / FILE).is_file() or not saves:
        found.append((folder / FILE, [folder / FILE], _notes(folder / FILE, folder / FILE)))
    if saves:
        files = _files(saves[-1])
        found.append((saves[-1], files, _notes(files[0], saves[-1])))
    return max(found, key=lambda one: _images(one[2]))


def _files(save: Path) -> list[Path]:
    """The files of all ranks. Raises CheckpointError where one is missing."""
    matches = {path: match for path in save.iterdir() if (match := OF_RANK.fullmatch(path.name))}
    world = max((int(match[2]) for match in matches.values()), default=1)
    for rank in range(world):
        if save / name_of(rank, world) not in matches:
            raise CheckpointError(f"{save} lacks {name_of(rank, world)}; {_advice(save)}.")
    return [save / name_of(rank, world) for rank in range(world)]


def _notes(path: Path, of: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            notes["progress"], notes["plan"]  # a KeyError means that this is another kind of file
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{path} is not a training state ({error}); {_advice(of)}.") from error
    return notes


def _images(notes: Mapping[str, str]) -> int:
    try:
        return int(json.loads(notes["progress"])["images"])
    except (ValueError, KeyError, TypeError):
        return -1


def _advice(path: Path) -> str:
    return AGAIN if path.name == FILE else "remove it to go on from the previous save"

"""Arrays that a stage fills chunk by chunk: killed, it goes on where it was; of other origin, it starts anew."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pinxit.errors import PinxitError
from pinxit.files import write_json

Rows = np.ndarray[tuple[int, ...], np.dtype[Any]]
UNFINISHED = "unfinished.npy"


@dataclass(frozen=True)
class RowFile:
    """NAME.npy of a folder, unfinished.npy until its last row is there, and NAME.json: what its rows are made of."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """Where the finished array is."""
        return self.folder / f"{self.name}.npy"

    @property
    def finished(self) -> bool:
        """Whether every row is there."""
        return self.path.is_file()

    def of(self, about: Mapping[str, Any]) -> bool:
        """Whether what is there, if anything, is made of `about`."""
        old = self._notes()
        return {name: old.get(name) for name in about} == about

    def start(self, about: Mapping[str, Any]) -> int:
        """How many rows are there already; 0, with what is there removed, when it is made of something else."""
        if not self.of(about):
            self.path.unlink(missing_ok=True)
            (self.folder / UNFINISHED).unlink(missing_ok=True)
            return 0
        return int(self._notes().get("done", 0)) if (self.folder / UNFINISHED).exists() else 0

    def put(self, about: Mapping[str, Any], count: int, start: int, rows: Rows) -> int:
        """Put `rows` in their place in an array of `count`, and note it; returns how many rows there are now."""
        write_rows(self.folder / UNFINISHED, count, start, rows)
        done = start + len(rows)
        write_json(self.folder / f"{self.name}.json", {**about, "done": done})
        return done

    def rows(self) -> Rows:
        """The rows so far, mapped into memory."""
        path = self.path if self.finished else self.folder / UNFINISHED
        stored: Rows = np.load(path, mmap_mode="r", allow_pickle=False)
        return stored

    def finish(self, about: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """All rows are there: give the array its name, and note `facts` found out about it."""
        write_json(self.folder / f"{self.name}.json", {**about, **facts, "done": len(self.rows())})
        (self.folder / UNFINISHED).replace(self.path)

    def _notes(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / f"{self.name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def write_rows(path: Path, count: int, start: int, rows: Rows) -> None:
    """Put `rows` in their place in a .npy of `count` rows. Written, not mapped, so that a full disk can be told."""
    header = io.BytesIO()
    about = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(header, {**about, "shape": (count, *rows.shape[1:])})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if start else "wb") as file:
            if not start:
                file.write(header.getvalue())
            file.seek(len(header.getvalue()) + start * rows[0].nbytes)
            file.write(np.ascontiguousarray(rows).tobytes())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PinxitError(f"cannot write {path}: {error.strerror or error}.") from error

"""Pictures as vectors on disk, ready to be searched: a folder that a kill at any moment leaves whole.

index.json             format, which model made the vectors, their width
chunk-000000.safetensors ...   float16 vectors [n, E]; in the header each row's file, size and time of change
gone.json              rows whose file has changed or vanished since
graph-....usearch      the search graph over the rows that its name tells; made from the chunks where it is missing

Chunks are only ever added, each by one renaming; the rest can be made again from them. A million rows of 512 numbers
are 1 GB of chunks and as much of graph, which is mapped, not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pinxit.errors import DataError, UsageError
from pinxit.files import replacing, write_json

if TYPE_CHECKING:
    from usearch.index import Index as Graph

FORMAT = 1
MANIFEST, GONE = "index.json", "gone.json"
CHUNK = "chunk-{:06d}.safetensors"
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


class Row(NamedTuple):
    """One picture file as it was when its vector was made."""

    path: str
    size: int  # bytes
    changed: int  # nanoseconds

    @classmethod
    def of(cls, path: Path) -> Row:
        """The file as it is now. Raises OSError when it is gone."""
        found = path.stat()
        return cls(str(path.resolve()), found.st_size, found.st_mtime_ns)


class Hit(NamedTuple):
    """A picture and its cosine to what was searched for."""

    path: Path
    score: float


@dataclass
class PictureIndex:
    """Open one with `create` or `open`; `add` rows, `settle` when all are there, `search`."""

    folder: Path
    model: str
    fingerprint: str
    width: int
    rows: list[Row]
    gone: set[int]

    @classmethod
    def create(cls, folder: Path, model: str, fingerprint: str, width: int) -> PictureIndex:
        """A new index, or the one that is there. Raises UsageError when that was made with another model."""
        if (folder / MANIFEST).exists():
            found = cls.open(folder)
            found.check(model, fingerprint)
            return found
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no index: choose another folder.")
        write_json(folder / MANIFEST, {"format": FORMAT, "model": model, "fingerprint": fingerprint, "width": width})
        return cls(folder, model, fingerprint, width, [], set())

    @classmethod
    def open(cls, folder: Path) -> PictureIndex:
        """Raises DataError when `folder` holds no index or a file of it is damaged."""
        try:
            about = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            gone = set(json.loads((folder / GONE).read_text())) if (folder / GONE).exists() else set()
            if about["format"] != FORMAT:
                raise DataError(f"{folder} is an index of format {about['format']}; this pinxit reads {FORMAT}.")
            facts = (str(about["model"]), str(about["fingerprint"]), int(about["width"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} holds no readable index ({error!r}): make one with search index.") from error
        index = cls(folder, *facts, [], gone)
        for path in index._chunks():
            index.rows += _rows_of(path)
        return index

    def check(self, model: str, fingerprint: str) -> None:
        """Raise UsageError when the vectors were made by another model."""
        if fingerprint != self.fingerprint:
            raise UsageError(
                f"{self.folder} was made with {self.model} ({self.fingerprint}), not {model} ({fingerprint}): "
                "use that one, or make another index."
            )

    def __len__(self) -> int:
        return len(self.rows) - len(self.gone)

    def missing(self, files: Sequence[Path]) -> list[Path]:
        """Those of `files` that have no vector as they are now."""
        known = {row for number, row in enumerate(self.rows) if number not in self.gone}
        return [path for path in files if _row_of(path) not in known]

    def add(self, rows: Sequence[Row], vectors: Floats) -> None:
        """Keep a chunk of vectors [n, E]. Raises PinxitError when it cannot be written; the index stays as it was."""
        from safetensors.numpy import save_file

        with replacing(self.folder / CHUNK.format(len(list(self._chunks())))) as temporary:
            save_file({"vectors": vectors.astype(np.float16)}, temporary, {"rows": json.dumps(rows)})
        self.rows += rows

    def settle(self) -> None:
        """Forget files that changed or vanished, and bring the search graph up to date on the disk."""
        last = {row.path: number for number, row in enumerate(self.rows)}
        gone = {n for n, row in enumerate(self.rows) if last[row.path] != n or _row_of(Path(row.path)) != row}
        if gone != self.gone:
            self.gone = gone
            write_json(self.folder / GONE, sorted(gone))
        graph, path = self.graph(), self._graph_path(len(self.rows))
        if not path.exists():
            with replacing(path) as temporary:
                graph.save(str(temporary))
        for old in self.folder.glob("graph-*.usearch"):
            if old != path:
                old.unlink()

    def search(self, vector: Floats, top: int) -> list[Hit]:
        """The `top` nearest pictures to a unit vector [E], best first."""
        if not len(self):
            return []
        found = self.graph().search(vector.astype(np.float32), min(top, len(self)))
        near = zip(found.keys, found.distances, strict=True)
        hits = [Hit(Path(self.rows[int(key)].path), 1 - float(far)) for key, far in near]
        return sorted(hits, key=lambda hit: -hit.score)

    def graph(self) -> Graph:
        """The search graph over all living rows: the stored one, made longer or anew where it is behind."""
        covered, graph = self._stored_graph()
        for start, part in self._vectors(covered):
            numbers = range(start, start + len(part))
            fresh = [number for number in numbers if number >= covered and number not in self.gone]
            if fresh:
                graph.add(np.array(fresh), part[[number - start for number in fresh]])
        return graph

    def _stored_graph(self) -> tuple[int, Graph]:
        """The longest graph on the disk that knows which rows are gone, and how many rows it covers."""
        graphs = _graphs()
        for rows in sorted({len(self.rows), *self._lengths()}, reverse=True):
            path = self._graph_path(rows)
            if rows <= len(self.rows) and path.exists():
                with suppress(Exception):  # a damaged graph is made again
                    return rows, graphs.restore(str(path), view=rows == len(self.rows))
        return 0, graphs(ndim=self.width, metric="cos", dtype="f16")

    def _lengths(self) -> list[int]:
        names = (path.name.split("-") for path in self.folder.glob("graph-*-*.usearch"))
        return [int(name[1]) for name in names if name[1].isdigit()]

    def _graph_path(self, rows: int) -> Path:
        """Where the graph over the first `rows` rows without those that are gone is kept."""
        gone = hashlib.sha256(json.dumps(sorted(self.gone)).encode()).hexdigest()[:8]
        return self.folder / f"graph-{rows}-{gone}.usearch"

    def _chunks(self) -> Iterator[Path]:
        number = 0
        while (path := self.folder / CHUNK.format(number)).exists():
            yield path
            number += 1

    def _vectors(self, covered: int) -> Iterator[tuple[int, Floats]]:
        """The chunks that hold rows from `covered` on, each with the number of its first row."""
        from safetensors import safe_open

        start = 0
        for path in self._chunks():
            with safe_open(path, framework="np") as file:
                count = file.get_slice("vectors").get_shape()[0]
                if start + count > covered:
                    yield start, file.get_tensor("vectors")
            start += count


def _graphs() -> Any:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise UsageError("searching needs the package usearch: pip install 'pinxit[search]'.") from error
    return Index


def _rows_of(path: Path) -> list[Row]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return [Row(*row) for row in json.loads((file.metadata() or {})["rows"])]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}): delete the index and make it again.") from error


def _row_of(path: Path) -> Row | None:
    try:
        return Row.of(path)
    except OSError:
        return None

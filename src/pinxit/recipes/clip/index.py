"""A searchable index of pictures on disk: a folder of vectors that stays intact if it is killed at any moment.

index.json             format, the model that made the vectors and its activation, their width
chunk-000000.safetensors ...   float16 vectors [n, E]; in the header each row's file, size and modification time
gone.json              rows whose file has changed or vanished since
graph-....usearch      the search graph over the rows that its name says; rebuilt from the chunks when it is missing or
                       damaged

Chunks are only ever added, each by an atomic rename; the graph can be rebuilt from them. A million rows of 512 numbers
are 1 GB of chunks and as much of graph, which is memory-mapped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from pinxit.errors import DataError, UsageError
from pinxit.files import read_json, write_json
from pinxit.locks import folder_lock
from pinxit.models.layers import Activation
from pinxit.recipes.clip.graph_files import new_graph, read_graph, write_graph
from pinxit.recipes.clip.index_rows import AGAIN, CHUNK, Floats, Row, chunks_in, row_of, rows_of, vectors_in
from pinxit.schema import Count, Whole, checked, plain_number
from pinxit.weights.tensor_files import write_tensors

if TYPE_CHECKING:
    from usearch.index import Index as Graph

FORMAT = 1
MANIFEST, GONE = "index.json", "gone.json"


class _Format(TypedDict):
    format: int


class _Manifest(_Format):
    model: str
    fingerprint: str
    width: Count
    activation: NotRequired[Activation]  # older indexes lack it


class Hit(NamedTuple):
    """A picture and its cosine similarity to the query."""

    path: Path
    score: float


@dataclass
class PictureIndex:
    """Open one with `create` or `open`; `add` rows, `settle` once all are added, `search`."""

    folder: Path
    model: str
    fingerprint: str
    width: int
    rows: list[Row]
    gone: set[int]
    activation: Activation | None = None  # None: unknown
    _graph: Graph | None = None
    _covered: int = 0  # rows of the graph on disk
    _older: set[int] = field(default_factory=set)  # rows of the graph whose file has a later one: a call was killed
    _writing: bool = False

    @classmethod
    def create(
        cls, folder: str | Path, model: str, fingerprint: str, width: int, activation: Activation | None = None
    ) -> PictureIndex:
        """A new index, or the existing one. Raises UsageError if that was made with another model, or for no width."""
        folder, width = Path(folder), checked(Count, plain_number(width), "width")
        about = {"format": FORMAT, "model": model, "fingerprint": fingerprint, "width": width}
        about |= {} if activation is None else {"activation": activation}
        if not (folder / MANIFEST).exists():
            if folder.exists() and not folder.is_dir():
                raise UsageError(f"{folder} is a file, not a folder for an index: choose another place.")
            if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
                raise UsageError(f"{folder} is not empty and holds no index: choose another folder.")
            with folder_lock(folder, f"the index {folder}"):
                if not (folder / MANIFEST).exists():  # no other process was quicker
                    write_json(folder / MANIFEST, about)
        opened = cls.open(folder)
        opened.check(model, fingerprint, activation)
        return opened

    @classmethod
    def open(cls, folder: str | Path) -> PictureIndex:
        """Raises DataError when `folder` holds no index or a file of it is damaged or lost."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise DataError(f"{folder} holds no index ({MANIFEST}): make one with search index.")
        version = read_json(folder / MANIFEST, _Format, DataError, AGAIN)["format"]
        if version != FORMAT:
            raise DataError(f"{folder} is an index of format {version}; this pinxit reads {FORMAT}.")
        about = read_json(folder / MANIFEST, _Manifest, DataError, AGAIN)
        made_by = about["model"], about["fingerprint"], about["width"]
        place = folder.absolute()  # a program may change its working directory
        index = cls(place, *made_by, [], set(), about.get("activation"))
        index._read()
        return index

    def _read(self) -> None:
        """Read the rows from disk. Raises DataError when a chunk is damaged or lost."""
        self.rows, self._graph = [], None
        for path in chunks_in(self.folder):
            self.rows += rows_of(path, self.width)
        lost = max(self._lengths(), default=0) > len(self.rows)
        if lost:
            raise DataError(f"{self.folder} has lost chunks of its vectors: {AGAIN}.")
        gone = read_json(self.folder / GONE, list[Whole], DataError, AGAIN) if (self.folder / GONE).exists() else []
        if max(gone, default=-1) >= len(self.rows):
            raise DataError(f"{self.folder / GONE} names row {max(gone)} of {len(self.rows)}: {AGAIN}.")
        self.gone = set(gone)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside the block no other process or thread writes the index, and `rows` are those on disk.

        Raises UsageError while another process or thread writes it.
        """
        if self._writing:  # nested
            yield
            return
        with folder_lock(self.folder, f"the index {self.folder}"):
            self._writing = True
            try:
                self._read()
                yield
            finally:
                self._writing = False

    def check(self, model: str, fingerprint: str, activation: Activation | None = None) -> None:
        """Raise UsageError when the vectors were made by another model, or by this one with another activation."""
        if fingerprint != self.fingerprint:
            raise UsageError(
                f"{self.folder} was made with {self.model} ({self.fingerprint}), not {model} ({fingerprint}): "
                "use that one, or make another index."
            )
        if None not in (activation, self.activation) and activation != self.activation:
            raise UsageError(
                f"{self.folder} was made with --activation {self.activation}, not {activation}: "
                "use that one, or make another index."
            )

    def __len__(self) -> int:
        return len(self.rows) - len(self.gone)

    def missing(self, files: Sequence[Path]) -> list[Path]:
        """Those of `files` whose present content has no vector."""
        known = {row for number, row in enumerate(self.rows) if number not in self.gone}
        return [path for path in files if row_of(path) not in known]

    def add(self, rows: Sequence[Row], vectors: Floats) -> None:
        """Write a chunk of vectors [n, E].

        Raises UsageError for another shape than the rows and the index have and for numbers that are not finite,
        PinxitError when it cannot be written; the index stays as it was.
        """
        import torch

        vectors = np.asarray(vectors)
        if vectors.shape != (len(rows), self.width):
            raise UsageError(
                f"{len(rows)} rows of the index {self.folder} need vectors [{len(rows)}, {self.width}], not "
                f"{list(vectors.shape)}."
            )
        with np.errstate(over="ignore"):
            halves = vectors.astype(np.float16)
        if not np.isfinite(halves).all():
            raise UsageError(f"vectors of the index {self.folder} must be finite numbers, of length one.")
        with self.writing():
            path = self.folder / CHUNK.format(len(chunks_in(self.folder)))
            write_tensors(path, {"vectors": torch.from_numpy(halves)}, {"rows": json.dumps(rows)})
            self.rows += rows
            self._graph = None

    def settle(self) -> None:
        """Drop rows of files that changed or vanished, and update the search graph on disk."""
        with self.writing():
            older = self._superseded()
            gone = older | {n for n, row in enumerate(self.rows) if n not in older and row_of(Path(row.path)) != row}
            if gone != self.gone:
                self.gone, self._graph = gone, None
                write_json(self.folder / GONE, sorted(gone))
            self._keep_graph()

    def _superseded(self) -> set[int]:
        """The rows whose file has a later row."""
        last = {row.path: number for number, row in enumerate(self.rows)}
        return {number for number, row in enumerate(self.rows) if last[row.path] != number}

    def _keep_graph(self) -> None:
        graph, path = self.graph(), self._graph_path(len(self.rows))
        if self._covered != len(self.rows) or not path.exists():
            write_graph(graph, path)
            self._covered = len(self.rows)
        for old in self.folder.glob("graph-*.usearch"):
            if old != path:
                old.unlink()

    def search(self, vector: Floats, top: int) -> list[Hit]:
        """The `top` nearest pictures to a unit vector [E], best first.

        Raises UsageError for a `top` below 1 and for a vector of another width or with a number that is not finite.
        """
        top = checked(Count, plain_number(top), "top")
        asked = np.asarray(vector, np.float32)
        if asked.shape != (self.width,) or not np.isfinite(asked).all():
            raise UsageError(f"a search needs a vector of {self.width} finite numbers.")
        if not len(self):
            return []
        graph = self.graph()
        matches = graph.search(asked, min(top + len(self._older), len(self)))
        near = [pair for pair in zip(matches.keys, matches.distances, strict=True) if int(pair[0]) not in self._older]
        hits = [Hit(Path(self.rows[int(key)].path), 1 - float(far)) for key, far in near]
        return sorted(hits, key=lambda hit: -hit.score)[:top]

    @property
    def unstored(self) -> int:
        """How many rows the graph on disk lacks, so that whoever opens it adds them: all, if it cannot be read."""
        self.graph()
        return len(self.rows) - self._covered

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_graph": None}  # another process opens the graph itself

    def graph(self) -> Graph:
        """The search graph over all rows that are not gone: the stored one, extended or rebuilt if outdated; cached."""
        if self._graph is None:
            self._graph = self._opened()
        return self._graph

    def _opened(self) -> Graph:
        covered, graph = self._stored_graph()
        self._covered, self._older = covered, self._superseded() - self.gone
        for start, part in vectors_in(self.folder, covered):
            numbers = range(start, start + len(part))
            fresh = [number for number in numbers if number >= covered and number not in self.gone]
            if fresh:
                graph.add(np.array(fresh), part[[number - start for number in fresh]])
        return graph

    def _stored_graph(self) -> tuple[int, Graph]:
        """The longest graph on disk that excludes the rows that are gone, and how many rows it covers."""
        for rows in sorted({len(self.rows), *self._lengths()}, reverse=True):
            path = self._graph_path(rows)
            if rows <= len(self.rows) and path.exists():
                graph = read_graph(path, view=rows == len(self.rows))  # a damaged graph is rebuilt
                left = rows - sum(row < rows for row in self.gone)
                if graph is not None and graph.ndim == self.width and len(graph) == left:
                    return rows, graph
        return 0, new_graph(self.width)

    def _lengths(self) -> list[int]:
        names = (path.name.split("-") for path in self.folder.glob("graph-*-*.usearch"))
        return [int(name[1]) for name in names if name[1].isdigit()]

    def _graph_path(self, rows: int) -> Path:
        """The file of the graph over the first `rows` rows, less those that are gone."""
        gone = hashlib.sha256(json.dumps(sorted(self.gone)).encode()).hexdigest()[:8]
        return self.folder / f"graph-{rows}-{gone}.usearch"

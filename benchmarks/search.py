"""Searching an index of many pictures beside reading every vector: `python benchmarks/search.py --rows 100000`.

Vectors are synthetic: clusters on the unit sphere, as embeddings of pictures lie. The last line is JSON: seconds to add
the vectors and to settle the index, bytes on the disk, milliseconds of a query through the graph and of an exact one
(one matrix product over all vectors in memory), their `ratio`, and `recall`: the share of the exact ten that it found.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pinxit.recipes.clip.index import PictureIndex
from pinxit.recipes.clip.index_rows import Row

CHUNK = 4096
TOP = 10


def vectors(rows: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Unit rows around a thousand centres."""
    centres = rng.normal(size=(1000, width)).astype(np.float32)
    found = centres[rng.integers(0, 1000, rows)] + 0.7 * rng.normal(size=(rows, width)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def milliseconds(work: object, queries: NDArray[np.float32]) -> list[float]:
    """How long `work` takes for each query."""
    assert callable(work)
    taken = []
    for query in queries:
        start = time.perf_counter()
        work(query)
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def measure(rows: int, width: int, queries: int, folder: Path) -> dict[str, float]:
    """All figures; the index is made in `folder`. Its rows name one file, so that its files' checks cost as usual."""
    rng = np.random.default_rng(0)
    every = vectors(rows + queries, width, rng)
    kept, asked = every[:rows], every[rows:]
    names = [folder / "pictures" / f"{number:07d}" for number in range(rows)]
    names[0].parent.mkdir()
    for name in names:
        name.touch()
    index = PictureIndex.create(folder / "index", "synthetic", "synthetic", width)
    start = time.perf_counter()
    for first in range(0, rows, CHUNK):
        index.add([Row.of(name) for name in names[first : first + CHUNK]], kept[first : first + CHUNK])
    added = time.perf_counter() - start
    start = time.perf_counter()
    index.settle()
    settled = time.perf_counter() - start
    graph = index.graph()
    exact = [set(np.argpartition(-(kept @ query), TOP)[:TOP].tolist()) for query in asked]
    found = [{int(key) for key in graph.search(query, TOP).keys} for query in asked]
    through = statistics.median(milliseconds(lambda query: graph.search(query, TOP), asked))
    whole = statistics.median(milliseconds(lambda query: np.argpartition(-(kept @ query), TOP), asked))
    return {
        "rows": rows,
        "width": width,
        "add_s": round(added, 2),
        "settle_s": round(settled, 2),
        "bytes": sum(path.stat().st_size for path in index.folder.iterdir()),
        "query_ms": round(through, 3),
        "exact_ms": round(whole, 3),
        "ratio": round(whole / through, 1),
        "recall": round(sum(len(a & b) for a, b in zip(exact, found, strict=True)) / (TOP * len(exact)), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(given.rows, given.width, given.queries, Path(folder))))


if __name__ == "__main__":
    main()

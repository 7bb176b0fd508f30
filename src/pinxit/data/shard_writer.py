"""Writing tar shards in the webdataset convention: key.png, key.txt (a caption a line) and key.json.

The bytes depend on the data alone, not on the time, the machine or an interruption.
"""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from PIL import Image

from pinxit.data.folders import FolderDataset
from pinxit.data.identity import differences, fingerprint, first_readable, identity
from pinxit.data.pool import cores, parallel_map
from pinxit.data.problems import Problem, Problems, read
from pinxit.errors import DataError, UsageError
from pinxit.files import atomic_file, read_json, write_json
from pinxit.locks import folder_lock
from pinxit.schema import Whole, checked, plain_number
from pinxit.types import Dataset, Example

Form = Literal["png", "webp"]
FORMS: tuple[Form, ...] = ("png", "webp")
MANIFEST = "shards.json"
AGAIN = "delete its folder and write the shards again"
SPAN = 32  # items of a worker's task

Files = list[tuple[str, bytes]]  # (name inside the tar, content)


@dataclass(frozen=True)
class WrittenShards:
    """The result of `write_shards`, including the shards of earlier calls."""

    shards: int
    items: int
    problems: Problems


@dataclass(frozen=True)
class _Job:
    dataset: Dataset
    form: Form


def write_shards(
    dataset: Dataset,
    out: Path | str,
    count: int | None = None,
    per_shard: int = 10_000,
    form: Form = "png",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WrittenShards:
    """Write the first `count` items of `dataset` (None: all; never more than it has) to out/00000.tar and so on.

    Pictures are stored without loss as PNG or WebP. A shard gets its name when it is complete; the same call after a
    kill goes on with the next missing one, and the result is the same to the byte. Items that cannot be used are
    skipped, listed in `problems` and in out/NNNNN_stats.json, and logged to the logger "pinxit".
    `progress(done, count)` is called now and then. Raises UsageError for numbers out of range, for a folder of pictures
    as its own `out`, or if another process writes into `out`, DataError when `out` holds shards of other data,
    PinxitError when the disk is full.
    """
    count = len(dataset) if count is None else min(checked(Whole, plain_number(count), "count"), len(dataset))
    per_shard = checked(Whole, plain_number(per_shard), "per_shard")
    if count < 1 or per_shard < 1 or form not in FORMS:
        raise UsageError(f"shards need count and per-shard of at least 1 and format png or webp, not {form}.")
    out = Path(out)
    if isinstance(dataset, FolderDataset) and out.resolve() == dataset.folder.resolve():
        # Beside tars loose pictures are not read: neither could the command go on after a kill, nor a run begin.
        raise UsageError(f"{out} holds the pictures themselves: choose another folder for the shards.")
    with folder_lock(out, f"the shards {out}"):
        return _write_all(dataset, out, count, per_shard, form, workers, progress)


def _write_all(
    dataset: Dataset,
    out: Path,
    count: int,
    per_shard: int,
    form: Form,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> WrittenShards:
    _claim(out, dataset, count, per_shard, form)
    spans = [range(start, min(start + per_shard, count)) for start in range(0, count, per_shard)]
    pending = [number for number in range(len(spans)) if not _finished(out, number)]
    tasks = [part for number in pending for part in _parts(spans[number])]
    results = parallel_map(_encode, _Job(dataset, form), tasks, min(workers or cores(), len(tasks)))
    done = count - sum(len(spans[number]) for number in pending)
    for number in pending:
        for filled in _write(out, number, spans[number], results):
            done += filled
            if progress is not None:
                progress(done, count)
    return _written(out, len(spans), dataset)


def _claim(out: Path, dataset: Dataset, count: int, per_shard: int, form: Form) -> None:
    """Write down what the shards are made from, or compare it with what an earlier call wrote. Raises DataError."""
    sample = fingerprint(first_readable(dataset, count))
    plan = {"source": identity(dataset), "count": count, "per_shard": per_shard, "form": form, "sample": sample}
    manifest = out / MANIFEST
    if manifest.exists():
        mismatch = differences(read_json(manifest, dict, DataError, AGAIN), plan)
        if mismatch:
            raise DataError(f"{out} holds shards of other data: {mismatch}; choose another folder or delete it.")
    elif out.exists() and any(out.glob("*.tar")):
        raise DataError(f"{out} holds tars that pinxit did not write; choose another folder.")
    else:
        write_json(manifest, plan)


def _parts(span: range) -> list[range]:
    return [span[start : start + SPAN] for start in range(0, len(span), SPAN)]


def _write(out: Path, number: int, span: range, results: Iterator[tuple[Files, list[Problem]]]) -> Iterator[int]:
    """Write one shard and its statistics; yields the number of items of each part."""
    problems: list[Problem] = []
    items = 0
    with atomic_file(out / f"{number:05d}.tar") as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for part in _parts(span):
                files, broken = next(results)
                for name, content in files:
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                problems += broken
                items += len(part) - len(broken)
                yield len(part)
        stats = {"items": items, "problems": [[problem.key, problem.reason] for problem in problems]}
        write_json(_stats(out, number), stats)


def _finished(out: Path, number: int) -> bool:
    """Whether a shard and its statistics are there; without statistics it is written again."""
    return (out / f"{number:05d}.tar").exists() and _stats(out, number).exists()


def _encode(job: _Job, span: range) -> tuple[Files, list[Problem]]:
    files: Files = []
    problems = []
    for index in span:
        item = read(job.dataset, index)
        if isinstance(item, Problem):
            problems.append(item)
        else:
            files += _files(f"{index:09d}", item, job.form)
    return files, problems


def _files(key: str, item: Example, form: Form) -> Files:
    """The three files of one item."""
    captions = [" ".join(caption.split()) for caption in item.captions]
    picture = io.BytesIO()
    Image.fromarray(item.picture).save(picture, format=form, **({"lossless": True} if form == "webp" else {}))
    height, width, _ = item.picture.shape
    fields: dict[str, Any] = {"caption": captions[0], "captions": captions, "width": width, "height": height}
    fields["source_key"] = item.key
    if dataclasses.is_dataclass(item.facts) and not isinstance(item.facts, type):
        fields["facts"] = dataclasses.asdict(item.facts)
    text = "\n".join(captions).encode()
    about = json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace")
    return [(f"{key}.{form}", picture.getvalue()), (f"{key}.txt", text), (f"{key}.json", about)]


def _stats(out: Path, number: int) -> Path:
    return out / f"{number:05d}_stats.json"


class _Stats(TypedDict):
    items: Whole
    problems: list[tuple[str, str]]


def _written(out: Path, shards: int, dataset: Dataset) -> WrittenShards:
    problems = Problems(getattr(dataset, "problems", ()))
    items = 0
    for number in range(shards):
        stats = read_json(_stats(out, number), _Stats, DataError, AGAIN)
        items += stats["items"]
        problems.extend(Problem(key, reason) for key, reason in stats["problems"])
    problems.log()
    return WrittenShards(shards, items, problems)

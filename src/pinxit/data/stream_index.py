"""The index of tar shards: a file beside them that says what each holds, so that a run need not scan them all.

pinxit-index.jsonl has a line for each shard: name, bytes, items, digest (see `stream_manifest`). Names are without
folders, so that shards and index can be moved together. A line is verified when its shard is first read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from pinxit.data.jsonl import json_line
from pinxit.data.shard_cache import ShardCache, shards_of, with_retries
from pinxit.data.stream_manifest import ShardRecord, scan_shard
from pinxit.errors import DataError, UsageError
from pinxit.files import parse_json, user_path, write_bytes
from pinxit.schema import Whole

INDEX = "pinxit-index.jsonl"
AHEAD = 4  # remote shards that are fetched while one is scanned
ROOM = 10e9  # bytes of local copies at a time


class _Line(TypedDict):
    name: str
    bytes: Whole
    items: Whole
    digest: str


def index_shards(
    spec: str | Path, folder: Path | str, progress: Callable[[int, int], None] | None = None
) -> list[ShardRecord]:
    """Scan the shards that `spec` names and write their index into `folder`; returns its records.

    May be killed at any time: the same call goes on with the next shard. Raises DataError for a shard that is missing,
    truncated or not a tar, or has the name of another; PinxitError if one cannot be fetched or the index cannot be
    written.
    """
    folder = Path(folder)
    urls, shard_cache = shards_of(str(spec)), ShardCache(folder / ".index-cache", ROOM)
    _check_names(urls)
    known = dict(_known(urls, folder / INDEX))
    records: list[ShardRecord] = []
    for number, url in enumerate(urls, 1):
        if url not in known:
            for further in urls[number : number + AHEAD]:
                shard_cache.prefetch(further)
        records.append(known[url] if url in known else scan_shard(url, shard_cache))
        if url not in known:
            _write(folder, [*records, *(known[later] for later in urls[number:] if later in known)])
            if progress is not None:  # after the write, so that even a caller that stops here makes progress
                progress(number, len(urls))
    _write(folder, records)
    shutil.rmtree(shard_cache.folder, ignore_errors=True)
    return records


def _check_names(urls: Sequence[str]) -> None:
    names: dict[str, str] = {}
    for url in urls:
        if names.setdefault(url.rpartition("/")[2], url) != url:
            both = f"{names[url.rpartition('/')[2]]} and {url}"
            raise DataError(f"{both} have the same name: index each folder on its own.")


def _write(folder: Path, records: Sequence[ShardRecord]) -> None:
    write_bytes(folder / INDEX, b"".join(json_line(_line(one)) for one in records))


def indexed_records(urls: Sequence[str]) -> dict[str, ShardRecord]:
    """The records in indexes beside the shards, by URL; without shards that have changed in size or are newer."""
    found: dict[str, ShardRecord] = {}
    for place in dict.fromkeys(url.rpartition("/")[0] for url in urls):
        beside = [url for url in urls if url.rpartition("/")[0] == place]
        found |= dict(_known(beside, f"{place}/{INDEX}" if "://" in place else Path(place or ".") / INDEX))
    return found


def folder_beside(spec: str) -> Path:
    """The default folder for files about shards: their own folder. Raises UsageError if they are not in a local one."""
    place = user_path(spec)
    if "://" in spec or "*" in spec or "{" in spec:
        raise UsageError(f"{spec} is not a local folder or file: say by --out which folder to write into.")
    return place if place.is_dir() else place.parent


def _known(urls: Sequence[str], index: Path | str) -> Iterator[tuple[str, ShardRecord]]:
    lines = {line["name"]: line for line in _lines(index)}
    for url in urls:
        line = lines.get(url.rpartition("/")[2])
        if line is not None and _seems_unchanged(url, line, index):
            yield url, {"url": url, "bytes": line["bytes"], "items": line["items"], "digest": line["digest"]}


def _lines(index: Path | str) -> list[_Line]:
    data = b""
    if isinstance(index, Path):
        data = index.read_bytes() if index.is_file() else b""
    else:
        import fsspec

        def read() -> bytes:
            with fsspec.open(index, "rb") as file:
                found: bytes = file.read()
            return found

        with suppress(DataError):  # there is no index: the shards are scanned
            data = with_retries(index, read)
    return [parse_json(line, _Line, str(index), DataError, "index the shards anew") for line in data.splitlines()]


def _seems_unchanged(url: str, line: _Line, index: Path | str) -> bool:
    """Whether a local shard is as large as in its index and not newer; a remote one is checked when it is fetched."""
    path = Path(url)
    if "://" in url or not path.is_file() or not isinstance(index, Path):
        return "://" in url
    about = path.stat()
    return about.st_size == line["bytes"] and about.st_mtime <= index.stat().st_mtime


def _line(record: ShardRecord) -> _Line:
    name = record["url"].rpartition("/")[2]
    return {"name": name, "bytes": record["bytes"], "items": record["items"], "digest": record["digest"]}

"""The index of tar shards: a file beside them that tells what each holds, so that no run need look through all of them.

A line a shard in pinxit-index.jsonl: name, bytes, items, digest (`stream_manifest`). Names are without their folder, so
that shards and index may be moved together. What a line tells is compared with the shard when that is first read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from pinxit.data.jsonl import json_line
from pinxit.data.shelf import Shelf, patiently, shards_of
from pinxit.data.stream_manifest import ShardRecord, look_through
from pinxit.errors import DataError, UsageError
from pinxit.files import parse_json, write_bytes
from pinxit.schema import Whole

INDEX = "pinxit-index.jsonl"
AHEAD = 4  # remote shards that are fetched while one is looked through
ROOM = 10e9  # bytes of copies at a time


class _Line(TypedDict):
    name: str
    bytes: Whole
    items: Whole
    digest: str


def index_shards(spec: str, folder: Path, progress: Callable[[int, int], None] | None = None) -> list[ShardRecord]:
    """Look through the shards that `spec` names and write their index into `folder`; returns what it tells.

    May be killed at any time: the same call goes on with the next shard. Raises DataError for a shard that is missing,
    truncated or no tar, PinxitError for one that cannot be fetched or where the index cannot be written.
    """
    urls, shelf = shards_of(spec), Shelf(folder / ".index-cache", ROOM)
    known = dict(_known(urls, folder / INDEX))
    records: list[ShardRecord] = []
    for number, url in enumerate(urls, 1):
        if url not in known:
            for further in urls[number : number + AHEAD]:
                shelf.expect(further)
        records.append(known[url] if url in known else look_through(url, shelf))
        if url not in known:
            write_bytes(folder / INDEX, b"".join(json_line(_line(one)) for one in records))
            if progress is not None:  # so that whoever stops at every call still gets on
                progress(number, len(urls))
    write_bytes(folder / INDEX, b"".join(json_line(_line(one)) for one in records))
    shutil.rmtree(shelf.folder, ignore_errors=True)
    return records


def indexed(urls: Sequence[str]) -> dict[str, ShardRecord]:
    """What indexes beside the shards tell of them; nothing of one that has become larger, smaller or newer."""
    found: dict[str, ShardRecord] = {}
    for place in dict.fromkeys(url.rpartition("/")[0] for url in urls):
        beside = [url for url in urls if url.rpartition("/")[0] == place]
        found |= dict(_known(beside, f"{place}/{INDEX}" if "://" in place else Path(place or ".") / INDEX))
    return found


def folder_beside(spec: str) -> Path:
    """Where goes what is written of shards if nobody says: beside those of a local folder. Raises UsageError."""
    place = Path(spec).expanduser()
    if "://" in spec or "*" in spec or "{" in spec:
        raise UsageError(f"say by --out where what is written of {spec} is to go.")
    return place if place.is_dir() else place.parent


def _known(urls: Sequence[str], index: Path | str) -> Iterator[tuple[str, ShardRecord]]:
    lines = {line["name"]: line for line in _lines(index)}
    for url in urls:
        line = lines.get(url.rpartition("/")[2])
        if line is not None and _as_it_was(url, line, index):
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

        with suppress(DataError):  # there is none: shards are looked through
            data = patiently(index, read)
    return [parse_json(line, _Line, str(index), DataError, "index the shards anew") for line in data.splitlines()]


def _as_it_was(url: str, line: _Line, index: Path | str) -> bool:
    """Of a local shard whether its index may be right; a remote one is looked at when it has come."""
    path = Path(url)
    if "://" in url or not path.is_file() or not isinstance(index, Path):
        return "://" in url
    about = path.stat()
    return about.st_size == line["bytes"] and about.st_mtime <= index.stat().st_mtime


def _line(record: ShardRecord) -> _Line:
    name = record["url"].rpartition("/")[2]
    return {"name": name, "bytes": record["bytes"], "items": record["items"], "digest": record["digest"]}

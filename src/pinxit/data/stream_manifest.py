"""The files of a stream's folder: which shards there are, and what each holds.

stream.json   the manifest: the side of the pictures, and for each shard its URL, bytes, items and a digest of its
              index; written last, so that a folder without it is unfinished
shards.jsonl  the shards scanned so far, a line each
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from pinxit.data.problems import Problems
from pinxit.data.shard_cache import ShardCache
from pinxit.data.shards import Shard, index_shard
from pinxit.errors import DataError
from pinxit.files import parse_json, read_json
from pinxit.schema import Count, Whole

STREAM, LINES, FORMAT = "stream.json", "shards.jsonl", 1
AGAIN = "restore it, or train into another folder"


class ShardRecord(TypedDict):
    """A shard as it was when it was scanned."""

    url: str
    bytes: Whole
    items: Whole
    digest: str


class StreamManifest(TypedDict):
    """stream.json."""

    format: Whole
    spec: str
    size: Count
    items: Count
    shards: list[ShardRecord]


def digest_of(shard: Shard) -> str:
    """Sixteen hex digits that change with the names, offsets and sizes of a shard's files."""
    return hashlib.sha256(shard.keys.tobytes() + shard.spans.tobytes()).hexdigest()[:16]


def scan_shard(url: str, shard_cache: ShardCache) -> ShardRecord:
    """Scan a shard. Raises DataError when it is missing, truncated or not a tar."""
    path, problems = shard_cache.path(url), Problems()
    if not path.is_file():
        raise DataError(f"there is no shard {url}: {AGAIN}.")
    found = index_shard(path, problems)
    if damage := next((one for one in problems if one.key == path.name), None):
        raise DataError(f"{url} {damage.reason}: fetch it again.")
    problems.log()
    return {"url": url, "bytes": path.stat().st_size, "items": len(found.keys), "digest": digest_of(found)}


def scanned_shards(folder: Path) -> list[ShardRecord]:
    """The shards that have been scanned already."""
    path = folder / LINES
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [parse_json(line, ShardRecord, str(path), DataError, AGAIN) for line in lines]


def check_bytes(path: Path, shard: ShardRecord) -> None:
    """Raises DataError when a shard is gone or has another size than when it was scanned."""
    if not path.is_file():
        raise DataError(f"there is no shard {shard['url']} any more: {AGAIN}.")
    if (size := path.stat().st_size) != shard["bytes"]:
        raise DataError(f"{shard['url']} is {size} bytes, not {shard['bytes']} as when this run began: {AGAIN}.")


def used(shards: Sequence[ShardRecord], count: int | None) -> int:
    """How many items a stream of at most `count` (None: all) has."""
    there = sum(shard["items"] for shard in shards)
    return there if count is None else min(there, count)


def compare(folder: Path, spec: str, size: int, count: int | None) -> None:
    """Raises DataError when the folder's stream is of other shards, pictures of another size, or another number."""
    manifest: StreamManifest = read_json(folder / STREAM, StreamManifest, DataError, AGAIN)
    for name, new in (("spec", spec), ("size", size), ("items", used(manifest["shards"], count))):
        if manifest[name] != new:  # type: ignore[literal-required]
            raise DataError(f"{folder} holds a stream of {name}={manifest[name]}, not {new}: {AGAIN}.")  # type: ignore[literal-required]

"""Making a stream: its shards are scanned once, unless an index beside them says what they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pinxit.data.jsonl import json_line
from pinxit.data.shard_cache import ShardCache, shards_of
from pinxit.data.stream_index import indexed_records
from pinxit.data.stream_manifest import FORMAT, LINES, STREAM, compare, scan_shard, scanned_shards, used
from pinxit.data.streams import Stream
from pinxit.errors import DataError
from pinxit.files import write_bytes, write_json
from pinxit.schema import Count, checked, plain_number


def build_stream(
    spec: str | Path,
    size: int,
    count: int | None,
    folder: Path | str,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | str | None = None,
) -> Stream:
    """Make a stream of the shards that `spec` names, in `folder`; at most `count` items are used (None: all).

    Shards with a line in an index beside them (`stream_index`) are neither scanned nor fetched. May be killed at any
    time: the same call goes on with the next shard. Raises UsageError for a size or count that is no whole number from
    1 on, DataError when `folder` holds another stream, or when a shard is missing, truncated or not a tar, PinxitError
    when one cannot be fetched.
    """
    spec, folder = str(spec), Path(folder)
    size = checked(Count, plain_number(size), "size")
    count = None if count is None else checked(Count, plain_number(count), "count")
    if (folder / STREAM).is_file():
        compare(folder, spec, size, count)
        return Stream.open(folder, cache)
    urls, shard_cache = shards_of(spec), ShardCache(Path(cache or folder.parent / "cache"))
    known = indexed_records(urls) | {one["url"]: one for one in scanned_shards(folder)}
    records = []
    for number, url in enumerate(urls, 1):
        records.append(known[url] if url in known else scan_shard(url, shard_cache))
        if url not in known:
            write_bytes(folder / LINES, b"".join(map(json_line, records)))
            if progress is not None:
                progress(number, len(urls))
    items = used(records, count)
    if not items:
        raise DataError(f"there is no picture with a caption in {spec}.")
    about = {"format": FORMAT, "spec": spec, "size": size, "items": items, "shards": records}
    write_json(folder / STREAM, about)
    return Stream.open(folder, cache)

"""Making a stream: its shards are scanned once, unless an index beside them says what they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pinxit.data.jsonl import json_line
from pinxit.data.shelf import Shelf, shards_of
from pinxit.data.stream_index import indexed
from pinxit.data.stream_manifest import FORMAT, LINES, STREAM, compare, look_through, noted
from pinxit.data.streams import Stream
from pinxit.errors import DataError
from pinxit.files import write_bytes, write_json


def build_stream(
    spec: str,
    size: int,
    count: int | None,
    folder: Path | str,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> Stream:
    """Make a stream of the shards that `spec` names, in `folder`; at most `count` items are used (None: all).

    Shards with a line in an index beside them (`stream_index`) are neither scanned nor fetched. May be killed at any
    time: the same call goes on with the next shard. Raises DataError when `folder` holds another stream, or when a
    shard is missing, truncated or not a tar, PinxitError when one cannot be fetched.
    """
    folder = Path(folder)
    if (folder / STREAM).is_file():
        compare(folder, spec, size)
        return Stream.open(folder, cache)
    urls, shelf = shards_of(spec), Shelf(cache or folder.parent / "cache")
    known = indexed(urls) | {one["url"]: one for one in noted(folder)}
    records = []
    for number, url in enumerate(urls, 1):
        records.append(known[url] if url in known else look_through(url, shelf))
        if url not in known:
            write_bytes(folder / LINES, b"".join(map(json_line, records)))
            if progress is not None:
                progress(number, len(urls))
    items = sum(shard["items"] for shard in records)
    items = items if count is None else min(items, count)
    if not items:
        raise DataError(f"there is no picture with a caption in {spec}.")
    about = {"format": FORMAT, "spec": spec, "size": size, "items": items, "shards": records}
    write_json(folder / STREAM, about)
    return Stream.open(folder, cache)

"""What a model says of every item of tar shards, computed once: beside shard NNNNN a file NNNNN.KIND.safetensors.

Its rows are those of the shard, in their order. A file is written whole and says what it was made by and of, so that
it is done when it is there, and shards may be shared out among machines.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from safetensors import SafetensorError, safe_open

from pinxit.data.problems import ItemError, Problems
from pinxit.data.shard_cache import ShardCache, shards_of
from pinxit.data.shards import Shard, captions_of, example_of, index_shard
from pinxit.data.stream_index import AHEAD, indexed_records
from pinxit.data.stream_manifest import AGAIN, ShardRecord, digest_of
from pinxit.errors import DataError
from pinxit.files import write_json
from pinxit.locks import file_lock, remove_leftovers
from pinxit.weights.tensor_parts import TensorParts, write_parts

if TYPE_CHECKING:
    from torch import Tensor

    from pinxit.types import Picture

ABOUT, NOTE = "sidecars.json", "about"

T = TypeVar("T")


class RowEncoder(Protocol):
    """Who says something of items. Shapes: N items of a shard."""

    @property
    def kind(self) -> str:
        """text, clip, dvae: a part of the files' names."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What makes its answers these ones, JSON."""

    @property
    def size(self) -> int:
        """Side of the pictures that it is shown; 0: none."""

    def of(
        self, pictures: Iterable[Picture | None], captions: Sequence[tuple[str, ...]]
    ) -> Mapping[str, Tensor | TensorParts]:
        """Tensors of all items of a shard; a picture that cannot be used is None.

        `pictures` are decoded while they are iterated over, once: whoever keeps them has a whole shard in memory.
        Large tensors are `TensorParts`, made while they are written.
        """


@contextmanager
def sidecars_lock(kind: str, out: Path) -> Iterator[None]:
    """Inside the block no other command writes sidecars of that kind into `out`, nor is a half-written one there.

    Other kinds may be written meanwhile. Raises UsageError while another command writes this one.
    """
    with file_lock(out / f".{kind}.lock", f"what {kind} says in {out}"):
        remove_leftovers(out.glob(f".*.{kind}.safetensors.*.part"))
        yield


def encode_shards(
    spec: str | Sequence[str],
    encoder: RowEncoder,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
    cache: Path | None = None,
) -> list[Path]:
    """Write the sidecars of the shards that `spec` names into `out`; those that are there are left as they are.

    May be killed at any time: the same call goes on with the next shard. Raises DataError for a shard that is missing
    or no tar, or where `out` holds what another model said, PinxitError when one cannot be fetched or written.
    """
    urls = shards_of(spec) if isinstance(spec, str) else list(spec)
    shard_cache, written = ShardCache(cache or cache_of(out, encoder.kind)), []
    known = indexed_records(urls)
    missing = deque(missing_sidecars(urls, encoder.kind, out))
    for number, url in enumerate(urls, 1):
        new = bool(missing) and missing[0] == url
        if new:
            missing.popleft()
            for further in islice(missing, AHEAD):
                shard_cache.prefetch(further)
        written.append(encode_shard(url, encoder, out, shard_cache, known.get(url)))
        if progress is not None and new:  # so that whoever stops at every call still gets on
            progress(number, len(urls))
    finish(out, encoder.kind, encoder.about)
    return written


def encode_shard(
    url: str, encoder: RowEncoder, out: Path, shard_cache: ShardCache, known: ShardRecord | None = None
) -> Path:
    """The sidecar of one shard, written unless it is there; `known`: what an index tells of the shard."""
    place = out / sidecar_name(url, encoder.kind)
    about: dict[str, Any] = {"kind": encoder.kind, "about": dict(encoder.about)}
    if place.is_file() and "://" in url and not shard_cache.holds(url):  # which is not fetched again to be looked at
        check_sidecar(place, about | ({} if known is None else {"shard": known["digest"], "items": known["items"]}))
        return place
    path = shard_cache.path(url)
    if not path.is_file():
        raise DataError(f"there is no shard {url}: {AGAIN}.")
    shard, problems = index_shard(path, Problems()), Problems()
    about |= {"shard": digest_of(shard), "items": len(shard.keys)}
    if place.is_file():
        check_sidecar(place, about)
        return place
    rows = range(len(shard.keys))
    captions = [_captions(shard, row, problems) for row in rows]
    pictures = (_picture(shard, row, encoder.size, problems) for row in rows if encoder.size)
    out.mkdir(parents=True, exist_ok=True)
    write_parts(place, encoder.of(pictures, captions), {NOTE: json.dumps(about)})
    problems.log()
    return place


def missing_sidecars(urls: Sequence[str], kind: str, out: Path) -> list[str]:
    """The shards without a sidecar there. Raises DataError where two would have the same one."""
    names: dict[str, str] = {}
    for url in urls:
        if names.setdefault(sidecar_name(url, kind), url) != url:
            both = f"{names[sidecar_name(url, kind)]} and {url}"
            raise DataError(f"{both} have the same name: encode them into different folders.")
    return [url for url in urls if not is_complete([url], kind, out)]


def finish(out: Path, kind: str, about: Mapping[str, Any]) -> None:
    """Say what all sidecars of that kind in `out` are, and remove the copies of remote shards."""
    write_json(out / ABOUT, {"kind": kind, "about": dict(about)})
    shutil.rmtree(cache_of(out, kind), ignore_errors=True)


def cache_of(out: Path, kind: str) -> Path:
    """Where copies of remote shards are kept meanwhile; each kind has its own, for several may be at work at once."""
    return out / f"cache-{kind}"


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of `size`; the last one may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def is_complete(urls: Sequence[str], kind: str, out: Path) -> bool:
    """Whether every shard has its sidecar there."""
    return all((out / sidecar_name(url, kind)).is_file() for url in urls)


def sidecar_name(url: str, kind: str) -> str:
    """What the sidecar of a shard is called."""
    return f"{url.rpartition('/')[2].removesuffix('.tar')}.{kind}.safetensors"


def check_sidecar(place: Path, about: Mapping[str, Any]) -> None:
    """Raise DataError where a sidecar is damaged, or of another model or shard."""
    found = read_metadata(place)
    for name, here in about.items():
        if found.get(name) != here:
            what = {"about": "what another model said", "kind": "something else"}.get(name, "answers of another shard")
            raise DataError(f"{place} holds {what}: delete it, or encode into another folder.")


def read_metadata(place: Path) -> dict[str, Any]:
    """What a sidecar says of itself. Raises DataError when it is damaged."""
    try:
        with safe_open(place, framework="pt") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})[NOTE])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{place} is no sidecar or is damaged ({error}): delete it and encode again.") from error
    return found


def _captions(shard: Shard, row: int, problems: Problems) -> tuple[str, ...]:
    try:
        return captions_of(shard, row)
    except ItemError as error:
        problems.add(error.key, error.reason)
        return ("",)


def _picture(shard: Shard, row: int, size: int, problems: Problems) -> Picture | None:
    try:
        return example_of(shard, row, size).picture
    except ItemError as error:
        problems.add(error.key, error.reason)
        return None

"""The sprite pack: drawn things with transparent backgrounds, bundled with the package.

`Pack.open()` reads `assets/index.json`; a sprite is decoded from `assets/sprites.bin` when it is first asked for.
The pack is made by `python -m scripts.build_sprites`; NOTICE names where every drawing comes from.
"""

from __future__ import annotations

import io
import json
import mmap
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pinxit.errors import DataError, UsageError

Preset = Literal["small", "full"]
Sprite = NDArray[np.uint8]
"""Straight-alpha RGBA, uint8 [H, W, 4]. Colour under alpha 0 means nothing: resize with premultiplied alpha."""

FORMAT = 1
ASSETS = Path(__file__).parent / "assets"
CACHED_SPRITES = 512  # decoded sprites kept in memory, about 50 kB each


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of thing the pack can draw, with the words captions need."""

    name: str  # English singular, lower case: "penguin"
    plural: str
    article: Literal["a", "an"]
    synonyms: tuple[str, ...]  # other English names a person may use: "aeroplane"
    zh: str  # Chinese name: 企鹅
    zh_measure: str  # Chinese measure word, as in 一只企鹅
    artists: tuple[str, ...]  # who drew it, in the pack's order of artists
    preset: Preset  # "small" things belong to both presets
    group: tuple[str, ...]  # "animal", "food", "plant", "vehicle", "garment", "face" (a head without its body), ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one drawing lies in sprites.bin, its size in pixels and its checksum."""

    start: int
    length: int
    width: int
    height: int
    crc: int


class Pack:
    """Things and their sprites. Open it with `Pack.open()`; it is safe to share between forked workers."""

    def __init__(self, folder: Path) -> None:
        """Read the pack in `folder`. Raises DataError when it is missing, truncated or of another format."""
        index = _read_index(folder)
        try:
            self.artists: tuple[str, ...] = tuple(index["artists"])
            self.things: dict[str, Thing] = {}
            self._places: dict[tuple[str, str], _Place] = {}
            for row in index["things"]:
                self._add(row)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the sprite pack's index {folder / 'index.json'} is damaged; reinstall pinxit.") from error
        self._blob = _map(folder / "sprites.bin", int(index["bytes"]))
        self.sprite = lru_cache(maxsize=CACHED_SPRITES)(self._sprite)

    @staticmethod
    def open(folder: Path | None = None) -> Pack:
        """The bundled pack, or the one in `folder`; opened once per process. Raises DataError when it is damaged."""
        return _open(folder or ASSETS)

    def names(self, preset: Preset) -> tuple[str, ...]:
        """Names of the things in a preset, in the pack's order; "full" has them all."""
        if preset not in ("small", "full"):
            raise UsageError(f"there is no world preset '{preset}'; choose small or full.")
        return tuple(name for name, thing in self.things.items() if preset == "full" or thing.preset == "small")

    def aspect(self, name: str, artist: str) -> float:
        """Width / height of a sprite, without decoding it. Raises UsageError when there is no such sprite."""
        place = self._place(name, artist)
        return place.width / place.height

    def _sprite(self, name: str, artist: str) -> Sprite:
        """The drawing of `name` by `artist`, tightly cropped and read-only. Raises UsageError when there is none,
        DataError when its bytes are damaged."""
        place = self._place(name, artist)
        data = self._blob[place.start : place.start + place.length]
        if zlib.crc32(data) != place.crc:
            raise DataError(f"the sprite of '{name}' by {artist} is damaged; reinstall pinxit.")
        with Image.open(io.BytesIO(data)) as picture:
            pixels = np.array(picture.convert("RGBA"))
        pixels.setflags(write=False)
        return pixels

    def _place(self, name: str, artist: str) -> _Place:
        place = self._places.get((name, artist))
        if place is None:
            known = self.things.get(name)
            fix = f"it is drawn by {', '.join(known.artists)}" if known else "see Pack.open().things"
            raise UsageError(f"the sprite pack has no '{name}' by '{artist}'; {fix}.")
        return place

    def _add(self, row: dict[str, Any]) -> None:
        sprites = {self.artists[int(artist)]: _Place(*map(int, place)) for artist, place in row["sprites"].items()}
        thing = Thing(
            name=row["name"],
            plural=row["plural"],
            article=row["article"],
            synonyms=tuple(row["synonyms"]),
            zh=row["zh"],
            zh_measure=row["zh_measure"],
            artists=tuple(sprites),
            preset=row["preset"],
            group=tuple(row["group"]),
        )
        self.things[thing.name] = thing
        self._places.update({(thing.name, artist): place for artist, place in sprites.items()})


@cache
def _open(folder: Path) -> Pack:
    return Pack(folder)


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    try:
        index = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"the sprite pack {path} cannot be read ({error.strerror}); reinstall pinxit.") from error
    except ValueError as error:
        raise DataError(f"the sprite pack's index {path} is damaged; reinstall pinxit.") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise DataError(f"the sprite pack {path} is not of format {FORMAT}; reinstall pinxit.")
    return index


def _map(path: Path, size: int) -> mmap.mmap:
    try:
        with path.open("rb") as handle:
            blob = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DataError(f"the sprite pack {path} cannot be read ({error}); reinstall pinxit.") from error
    if len(blob) != size:
        raise DataError(f"the sprite pack {path} has {len(blob)} bytes instead of {size}; reinstall pinxit.")
    return blob

"""Write the pack: sprites.bin (WebP files one after another) and index.json (words, places, checksums)."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scripts.sprites.things import Row

from pinxit.files import write_bytes, write_text
from pinxit.world.pack import FORMAT


def usable(picture: Image.Image) -> bool:
    """A cut-out, not a tile: it fills at least 10 % of its box and at most 93 % of the square around it."""
    alpha = np.asarray(picture.convert("RGBA"))[..., 3] > 127
    return float(alpha.mean()) >= 0.10 and int(alpha.sum()) <= 0.93 * max(alpha.shape) ** 2


def bundle(drawn: list[tuple[Row, dict[str, bytes]]], artists: tuple[str, ...], folder: Path) -> None:
    """Write the pack of `drawn` (thing, {artist: WebP bytes}) into `folder`."""
    blob = bytearray()
    rows: list[dict[str, Any]] = []
    for row, sprites in drawn:
        places = {str(artists.index(artist)): _append(blob, data) for artist, data in sprites.items()}
        rows.append(_entry(row) | {"sprites": places})
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    head = json.dumps({"format": FORMAT, "bytes": len(blob), "artists": artists})[:-1]
    write_bytes(folder / "sprites.bin", bytes(blob))
    write_text(folder / "index.json", f'{head}, "things": [\n{lines}\n]}}\n')


def _entry(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "plural": row.plural,
        "article": row.article,
        "synonyms": row.synonyms,
        "zh": row.zh,
        "zh_measure": row.measure,
        "preset": row.preset,
        "group": row.group,
    }


def _append(blob: bytearray, data: bytes) -> tuple[int, int, int, int, int]:
    start = len(blob)
    blob.extend(data)
    with Image.open(io.BytesIO(data)) as picture:
        width, height = picture.size
    return start, len(data), width, height, zlib.crc32(data)

"""Decoding untrusted picture files: to upright RGB over white, eight bits; broken ones are refused in one sentence."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pinxit.data.problems import ItemError

if TYPE_CHECKING:
    from pinxit.types import Picture

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")  # Pillow's other decoders never see untrusted bytes
MOST_PIXELS = 2**26  # 67 megapixels, 200 MB as RGB; anything larger is treated as a decompression bomb


DEPTH = 24  # the byte of a PNG that says how many bits a channel has
PNG, NOTES = b"\x89PNG\r\n\x1a\n", (b"iCCP", b"iTXt", b"tEXt", b"zTXt")

# For the whole process, because `catch_warnings` is not thread-safe. Nothing is lost: the size is checked below, and
# strange metadata do no harm.
warnings.filterwarnings("ignore", module=r"PIL(\..*)?")
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def read_picture(path: str | Path) -> Picture:
    """The picture in a file, uint8 [H, W, 3] at full size. Raises ItemError (a DataError) when it cannot be used."""
    return read_with_digest(path)[0]


def read_with_digest(path: str | Path) -> tuple[Picture, str]:
    """The same, and the SHA-256 of the file, which is read once: a pipe holds its content for one reader."""
    data = read_file(path)
    return np.array(decode(data, str(path))), hashlib.sha256(data).hexdigest()


def read_file(path: str | Path) -> bytes:
    """The bytes of a picture file. Raises ItemError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ItemError(str(path), f"cannot be read ({error.strerror or error})") from error


def decode(data: bytes, key: str, least: int | None = None) -> Image.Image:
    """The RGB image in `data`: rotated as its EXIF says, transparency over white, the first frame of an animation.

    With `least`, a JPEG may be decoded at a reduced size, its shorter side still at least twice that (much faster).
    Raises ItemError naming `key` when `data` is empty, truncated, too large, or not a picture of a known format.
    """
    with _telling_of(key):
        return rgb(_decode(data, key, least))


def decode_with_alpha(data: bytes, key: str) -> tuple[Image.Image, Image.Image | None]:
    """The same, and its alpha (mode L), None where nothing can be transparent. Raises ItemError as `decode` does."""
    with _telling_of(key):
        whole = _decode(data, key)
        return rgb(whole), whole.getchannel("A") if whole.mode == "RGBA" else None


@contextmanager
def _telling_of(key: str) -> Iterator[None]:
    try:
        yield
    except ItemError:
        raise
    except UnidentifiedImageError as error:
        raise ItemError(key, f"is not a picture of a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise ItemError(key, "is too large") from error
    except MemoryError as error:
        raise ItemError(key, "does not fit into memory") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, ValueError and more
        reason = "is truncated" if "truncated" in str(error).lower() else f"is damaged ({_brief(error)})"
        raise ItemError(key, reason) from error


def _decode(data: bytes, key: str, least: int | None = None) -> Image.Image:
    """The upright picture as RGBA if it has transparency, else as RGB."""
    if not data:
        raise ItemError(key, "is empty")
    with Image.open(io.BytesIO(without_notes(data)), formats=FORMATS) as image:
        if least is not None:
            image.draft(None, (2 * least, 2 * least))
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise ItemError(key, f"is too large ({width} x {height} pixels)")
        _scale_transparency(image, data)
        image.load()
        with suppress(Exception):  # broken EXIF says nothing about orientation; the picture itself is sound
            ImageOps.exif_transpose(image, in_place=True)
        return _in_eight_bits(image)


def _scale_transparency(image: Image.Image, data: bytes) -> None:
    """Scale the level or colour that a PNG calls transparent as Pillow scales its pixels, but not this, to eight bits.

    Of colours of sixteen bits Pillow keeps the upper eight.
    """
    clear, depth = image.info.get("transparency"), data[DEPTH] if data.startswith(PNG) else 8
    if image.mode == "L" and isinstance(clear, int):
        most = 2**depth - 1
        image.info["transparency"] = (clear & most) * 255 // most
    elif image.mode == "RGB" and isinstance(clear, tuple) and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in clear)


def without_notes(data: bytes) -> bytes:
    """A PNG without its texts and colour profile, which are not used, as Pillow refuses them above a megabyte."""
    if not data.startswith(PNG):
        return data
    kept, place = [PNG], len(PNG)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] not in NOTES:
            kept.append(data[place:end])
        place = end
    return b"".join([*kept, data[place:]])


def rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: transparency over white, sixteen bits as eight."""
    image = _in_eight_bits(image)
    if image.mode == "RGB":
        return image
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image).convert("RGB")


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGBA if it has transparency, else as RGB."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip instead of scaling
        levels, clear = np.asarray(image).astype(np.uint32).clip(0, 65535), image.info.get("transparency")
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
        if clear is not None:
            image.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__

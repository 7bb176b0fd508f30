"""The process that opens uploads: little memory, no files, no network of ours; it may die, and another takes its place.

`python -m pinxit.serve.decoder` reads pictures from stdin and writes pixels to stdout: see `Answer`.
"""

from __future__ import annotations

import io
import struct
import sys
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from PIL import Image

from pinxit.data.decode import decode
from pinxit.data.problems import ItemError

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 2**24
MEMORY = 2**30  # bytes of addresses: the interpreter, two copies of the largest picture, and room
LENGTH = struct.Struct(">I")
ANSWER = struct.Struct(">BIIB")  # 0, height, width, whether alpha follows RGB; or 1, 0, 0, 0, then a length and a text


def pixels(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB uint8 [H, W, 3] upright, and alpha [H, W] where there is any. Raises ItemError in one sentence."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            (width, height), clear = image.size, image.has_transparency_data
            if width * height > MOST_PIXELS:
                raise ItemError("the picture", f"has {width} x {height} pixels; at most {MOST_PIXELS} are taken")
            alpha = np.asarray(image.convert("RGBA").getchannel("A")) if clear else None
    except ItemError:
        raise
    except MemoryError:
        raise ItemError("the picture", "does not fit into memory") from None
    except Exception:  # decoders raise all kinds
        raise ItemError("the picture", "is not a PNG, JPEG or WebP file that can be read") from None
    rgb = np.asarray(decode(data, "the picture"))
    return rgb, alpha if alpha is not None and alpha.shape == rgb.shape[:2] else None


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the source ends."""
    while head := source.read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        try:
            rgb, alpha = pixels(source.read(length))
        except ItemError as error:
            told = str(error).encode()
            sink.write(ANSWER.pack(1, 0, 0, 0) + LENGTH.pack(len(told)) + told)
        else:
            sink.write(ANSWER.pack(0, *rgb.shape[:2], alpha is not None))
            sink.write(rgb.tobytes() + (b"" if alpha is None else alpha.tobytes()))
        sink.flush()


def limit() -> None:
    """Give up what this process does not need, where the system knows such limits."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    Image.init()  # readers are found before files cannot be opened any more
    limit()
    serve(sys.stdin.buffer, sys.stdout.buffer)

"""The process that decodes uploads, with little memory and no access to files; it may die and is replaced.

`python -m pinxit.serve.upload_decoder` reads pictures from stdin and writes pixels to stdout: see ANSWER.
"""

from __future__ import annotations

import io
import struct
import sys
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from PIL import Image

from pinxit.data.decode import decode_with_alpha, without_notes
from pinxit.data.problems import ItemError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 2**24
MAX_MEMORY = 2**30  # bytes of address space: the interpreter, two copies of the largest picture, and a reserve
LENGTH = struct.Struct(">I")
ANSWER = struct.Struct(">BIIB")  # 0, height, width, whether alpha follows RGB; or 1, 0, 0, 0, then a length and a text


def pixels(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB uint8 [H, W, 3], upright, and alpha [H, W] if there is any. Raises ItemError."""
    try:
        with Image.open(io.BytesIO(without_notes(data)), formats=FORMATS) as image:
            width, height = image.size
    except MemoryError:
        raise ItemError("the picture", "does not fit into memory") from None
    except Exception:  # decoders raise all kinds of exceptions
        raise ItemError("the picture", "is not a PNG, JPEG or WebP file that can be read") from None
    if width * height > MAX_PIXELS:
        raise ItemError("the picture", f"has {width} x {height} pixels; at most {MAX_PIXELS} are taken")
    rgb, alpha = decode_with_alpha(data, "the picture")
    return np.asarray(rgb), None if alpha is None else np.asarray(alpha)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Decode pictures until the source ends."""
    while head := source.read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        try:
            rgb, alpha = pixels(source.read(length))
        except ItemError as error:
            message = f"{error.key} {error.reason}.".encode()
            sink.write(ANSWER.pack(1, 0, 0, 0) + LENGTH.pack(len(message)) + message)
        else:
            sink.write(ANSWER.pack(0, *rgb.shape[:2], alpha is not None))
            sink.write(rgb.tobytes() + (b"" if alpha is None else alpha.tobytes()))
        sink.flush()


def set_limits() -> None:
    """Limit memory and forbid writing files, where the system supports such limits."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    Image.init()  # load all plugins before the limits apply
    set_limits()
    serve(sys.stdin.buffer, sys.stdout.buffer)

"""Named pipes, as users have them among their files."""

from __future__ import annotations

import os
import threading
import time
from itertools import chain, repeat
from pathlib import Path


def pipe(path: Path, *contents: bytes) -> Path:
    """A named pipe at `path`: each of its readers in turn gets one of `contents`, and all later ones nothing."""
    os.mkfifo(path)

    def write() -> None:
        for content in chain(contents, repeat(b"")):
            with path.open("wb") as handle:
                handle.write(content)
            time.sleep(0.05)  # the reader sees the end before the pipe is opened again

    threading.Thread(target=write, daemon=True).start()  # waits for readers
    return path

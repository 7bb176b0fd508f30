"""Files behind URLs that cannot be guessed, for a limited time."""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path

from pinxit.files import write_bytes

NAME = re.compile(r"[0-9a-f]{32}\.(png|jpeg|webp)")


class UrlFiles:
    """A folder of files under random names. Its methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes, form: str) -> str:
        """Store a picture; the file's name."""
        name = f"{secrets.token_hex(16)}.{form}"
        write_bytes(self.folder / name, data)
        return name

    def find(self, name: str) -> Path | None:
        """The file, unless it has expired or never existed."""
        path = self.folder / name
        if NAME.fullmatch(name) is None or not path.is_file() or path.is_symlink():
            return None
        return path if path.stat().st_mtime + self.seconds > time.time() else None

    def sweep(self) -> None:
        """Remove expired pictures; other files in the folder are not ours, or are being written."""
        for path in self.folder.iterdir():
            if NAME.fullmatch(path.name) and path.stat().st_mtime + self.seconds <= time.time():
                path.unlink(missing_ok=True)

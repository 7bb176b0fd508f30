"""Files behind URLs that cannot be guessed, for a limited time."""

from __future__ import annotations

import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from pinxit.errors import PinxitError
from pinxit.files import LEFT, write_bytes

NAME = re.compile(r"[0-9a-f]{32}\.(png|jpeg|webp)")


class UrlFiles:
    """A folder of files under random names. Its methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """Raises PinxitError if the folder cannot be made."""
        self.folder, self.seconds = folder, seconds
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PinxitError(f"cannot store pictures in {folder}: {error.strerror or error}.") from error

    def put(self, data: bytes, form: str) -> str:
        """Store a picture; the file's name."""
        name = f"{secrets.token_hex(16)}.{form}"
        write_bytes(self.folder / name, data)
        return name

    def read(self, name: str) -> tuple[bytes, float] | None:
        """The picture, and for how many seconds it stays; None if it has expired or never existed."""
        path = self.folder / name
        if NAME.fullmatch(name) is None or path.is_symlink():
            return None
        try:
            left = path.stat().st_mtime + self.seconds - time.time()
            return (path.read_bytes(), left) if left > 0 else None
        except (FileNotFoundError, IsADirectoryError):  # it may be swept at any moment
            return None

    def sweep(self) -> None:
        """Remove expired pictures, and half-written ones as old: killed processes left them. Other files stay."""
        for path in self.folder.iterdir():
            half = LEFT.fullmatch(path.name)
            with suppress(FileNotFoundError):  # it has just been written, and has its name now
                if (
                    NAME.fullmatch(half[1] if half else path.name)
                    and path.stat().st_mtime + self.seconds <= time.time()
                ):
                    path.unlink(missing_ok=True)

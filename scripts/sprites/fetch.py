"""Fetch the pinned npm packages that hold the drawings and the names; each is fetched once."""

from __future__ import annotations

import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pinxit.errors import PinxitError


@dataclass(frozen=True)
class Source:
    """One registry package: what `npm pack` is asked for, and the artist whose drawings it holds."""

    package: str
    version: str
    artist: str = ""  # as captions name them; empty: the package holds names only

    @property
    def spec(self) -> str:
        """What npm calls it: name@version."""
        return f"{self.package}@{self.version}"


NAMES = Source("emojibase-data", "17.0.0")
DRAWINGS = (
    Source("@iconify-json/noto", "1.2.9", "noto"),
    Source("@iconify-json/noto-v1", "1.2.5", "noto classic"),
    Source("@iconify-json/fluent-emoji-flat", "1.2.6", "fluent flat"),
    Source("@lobehub/fluent-emoji-3d", "1.1.0", "fluent 3d"),
)


def fetch(source: Source, work: Path) -> Path:
    """The unpacked package's folder, fetched with npm on the first call and found in `work` on later ones."""
    folder = work / folder_name(source)
    if (folder / "package").is_dir():
        return folder / "package"
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", "--silent", source.spec, "--pack-destination", str(folder)]
    try:
        archive = folder / subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    except (OSError, subprocess.CalledProcessError) as error:
        raise PinxitError(f"cannot fetch {source.spec} with npm: {error}.") from error
    partial = folder / "unpacking"
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    (partial / "package").replace(folder / "package")
    partial.rmdir()
    archive.unlink()
    return folder / "package"


def folder_name(source: Source) -> str:
    """A name for the package's files that holds its version."""
    return source.spec.lstrip("@").replace("@", "-").replace("/", "-")

"""Fonts for captions: the one inside Pillow for plain English, and the system's for everything else."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

Script = Literal["ascii", "latin", "chinese"]

_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
# How the file names of common fonts begin, best first.
_NAMES: dict[Script, tuple[str, ...]] = {
    "ascii": (),  # Pillow's own font, the same everywhere
    "latin": ("dejavusans", "notosans-regular", "liberationsans-regular", "arial", "helvetica", "segoeui"),
    "chinese": (
        "notosanscjk-regular",
        "notosanscjksc-regular",
        "notosanssc",
        "sourcehansanssc-regular",
        "sourcehansanscn-regular",
        "pingfang",
        "hiragino sans gb",
        "msyh",
        "wqy-microhei",
        "wqy-zenhei",
        "droidsansfallback",
        "uming",
        "simhei",
        "simsun",
        "unifont",
    ),
}


def is_cjk(text: str) -> bool:
    """Whether `text` holds a character that only an East Asian font draws."""
    return any("\u2e80" <= character <= "\uffdc" or "\U00020000" <= character <= "\U000323af" for character in text)


def script(text: str) -> Script:
    """The simplest script that covers `text`."""
    if text.isascii():
        return "ascii"
    return "chinese" if is_cjk(text) else "latin"


@cache
def system_font(script: Script) -> Path | None:
    """A font file of this system for `script`, or None."""
    files = _font_files()
    for name in _NAMES[script]:
        matches = sorted(path for path in files if path.stem.lower().startswith(name))
        if matches:
            return min(matches, key=lambda path: len(path.stem))  # the plain weight has the shortest name
    return None


@cache
def font(script: Script, size: int) -> FreeTypeFont | ImageFont:
    """A font of `size` pixels for `script`.

    Without a fitting one on the system it is Pillow's own, which draws an empty box for every character it lacks.
    """
    from PIL import ImageFont

    path = system_font(script)
    if path is not None:
        try:
            return ImageFont.truetype(str(path), size)
        except OSError:  # a broken font file must not cost the sheet
            pass
    return ImageFont.load_default(size)


@cache
def _font_files() -> tuple[Path, ...]:
    folders = [Path(folder).expanduser() for folder in _FOLDERS]
    kinds = (".ttf", ".ttc", ".otf", ".otc")
    return tuple(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in kinds)

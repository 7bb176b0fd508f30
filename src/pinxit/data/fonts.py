"""Fonts for captions: Pillow's own for plain English, and the system's for everything else."""

from __future__ import annotations

from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pinxit.files import user_path

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

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
# The beginnings of the file names of common fonts, best first.
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


def runs(text: str) -> list[tuple[Script, str]]:
    """`text` split into parts for one font each: a Chinese font may lack Latin letters, and the other way round."""
    other: Script = "ascii" if all(c.isascii() or c == "…" or is_cjk(c) for c in text) else "latin"
    pieces = groupby(text, key=lambda character: "chinese" if is_cjk(character) else other)
    return [("chinese" if kind == "chinese" else other, "".join(characters)) for kind, characters in pieces]


def width(text: str, size: int) -> float:
    """The width of `text` on one line, in pixels."""
    return sum(font(script, size).getlength(piece) for script, piece in runs(text))


def write(draw: ImageDraw, place: tuple[float, float], text: str, size: int, ink: tuple[int, int, int]) -> None:
    """Draw `text` with the left end of its baseline at `place`."""
    left, base = place
    for script, piece in runs(text):
        draw.text((left, base), piece, ink, font(script, size), anchor="ls")
        left += font(script, size).getlength(piece)


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
def font(script: Script, size: int) -> FreeTypeFont:
    """A font of `size` pixels for `script`.

    If the system has none, Pillow's own, which draws an empty box for every character that it lacks.
    """
    from PIL import ImageFont

    path = system_font(script)
    if path is not None:
        try:
            return ImageFont.truetype(str(path), size)
        except OSError:  # a broken font file must not cost the user the picture
            pass
    return cast("FreeTypeFont", ImageFont.load_default(size))  # wheels of Pillow always carry FreeType


@cache
def _font_files() -> tuple[Path, ...]:
    folders = [user_path(folder) for folder in _FOLDERS]
    kinds = (".ttf", ".ttc", ".otf", ".otc")
    return tuple(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in kinds)

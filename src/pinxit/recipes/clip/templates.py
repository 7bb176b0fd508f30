"""Prompt templates around a label (Radford et al. 2021, section 3.1.4): an ensemble of them classifies better than one.

`imagenet80` is the published set of 80, `simple` one plain sentence, `label` the bare label.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pinxit.errors import UsageError
from pinxit.files import read_lines

_PHOTOS_OF_BOTH = (
    "bad", "low resolution", "cropped", "bright", "dark", "close-up", "black and white", "pixelated", "jpeg corrupted",
    "blurry", "good",
)  # fmt: skip
_OF_A_KIND = ("hard to see", "clean", "dirty", "cool", "large", "nice", "weird", "small", "")
_MADE = ("sculpture", "rendering", "tattoo", "drawing", "painting", "doodle", "sketch", "rendition")
_LOOSE = ("graffiti", "art", "itap")
_STUFF = ("embroidered", "plastic", "origami", "toy", "cartoon", "plushie")


def imagenet80() -> tuple[str, ...]:
    """The 80 published templates, each with one {}."""
    return tuple(f"{one}." for one in _sentences())


def _sentences() -> Iterator[str]:
    for article in ("a", "the"):
        yield from (f"a {kind} photo of {article} {{}}" for kind in _PHOTOS_OF_BOTH)
        yield from (f"a photo of {article} {kind} {{}}".replace("  ", " ") for kind in _OF_A_KIND)
        yield from (f"a {made} of {article} {{}}" for made in _MADE)
        yield from (f"{loose} of {article} {{}}" for loose in _LOOSE)
        yield from (f"{article} {stuff} {{}}" for stuff in _STUFF)
        yield f"{article} {{}} in a video game"
    yield from ("a photo of many {}", "a photo of one {}", "a photo of my {}", "itap of my {}")


SETS = {"imagenet80": imagenet80(), "simple": ("a photo of a {}.",), "label": ("{}",)}


def templates(name_or_file: str) -> tuple[str, ...]:
    """A set by name, or the lines of a UTF-8 file. Raises UsageError when there are none or one lacks its {}."""
    if name_or_file in SETS:
        return SETS[name_or_file]
    path = Path(name_or_file)
    if not path.exists():
        raise UsageError(f"templates '{name_or_file}' are neither {', '.join(SETS)} nor a file.")
    lines = read_lines(path, "templates")
    for number, line in enumerate(lines, 1):
        if line.count("{}") != 1:
            raise UsageError(f"{path}, template {number}: '{line}' must hold {{}} once, where the label goes.")
    return tuple(lines)

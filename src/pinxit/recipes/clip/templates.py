"""Prompt templates around a label (Radford et al. 2021, section 3.1.4): an ensemble of them classifies better than one.

`imagenet80` is the published set of 80, `simple` one plain sentence, `label` the bare label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pinxit.errors import UsageError
from pinxit.files import read_lines
from pinxit.texts import check_text

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

Templates = str | Path | Sequence[str]
"""The name of a set, a file of templates, or templates."""


def templates(given: Templates) -> tuple[str, ...]:
    """A set by name, the lines of a UTF-8 file, or templates given themselves.

    Raises UsageError when there are none or one lacks its {}.
    """
    if isinstance(given, str) and given in SETS:
        return SETS[given]
    if not isinstance(given, str | Path):
        return _checked(given, "")
    path = Path(given)
    if not path.exists():
        raise UsageError(f"templates '{given}' are neither {', '.join(SETS)} nor a file.")
    return _checked(read_lines(path, "templates"), f"{path}, ")


def _checked(lines: Iterable[str], where: str) -> tuple[str, ...]:
    found = tuple(lines)
    for number, line in enumerate(found, 1):
        if check_text(line, f"{where}template {number}").count("{}") != 1:
            raise UsageError(f"{where}template {number}: '{line}' must hold {{}} once, where the label goes.")
    if not found:
        raise UsageError("give at least one template, such as 'a photo of a {}.'.")
    return found

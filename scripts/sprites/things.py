"""The table of things: things.tsv, filled up with names joined by code point from emojibase-data.

A blank `name` or `zh` takes emojibase's label; a blank `plural` follows the rules of `plural_of`. Synonyms are nouns
that can be counted, with a regular plural, true of every drawing: captions use them in place of the name.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("things.tsv")
AN = ("hourglass",)
A = ("unicorn", "ukulele", "one-", "euro")


@dataclass(frozen=True)
class Row:
    """One thing as the table gives it, blanks filled in."""

    code: str  # emoji code points, lower case, without variation selectors; or the name of an own drawing
    name: str
    plural: str
    article: str
    zh: str
    measure: str
    group: tuple[str, ...]
    synonyms: tuple[str, ...]
    without: tuple[str, ...]  # artists whose drawing shows something else, or cannot be read
    preset: str


def read_table(names: Path) -> list[Row]:
    """All rows of things.tsv in order; `names` is the unpacked emojibase-data package."""
    english, chinese = _labels(names / "en"), _labels(names / "zh")
    with TABLE.open(encoding="utf-8", newline="") as handle:
        return [_row(cells, english, chinese) for cells in csv.DictReader(handle, delimiter="\t")]


def code_of(text: str) -> str:
    """Code points as one spelling: lower case, joined by "-", without the variation selector FE0F."""
    return "-".join(part for part in text.lower().split("-") if part != "fe0f")


def article_of(name: str) -> str:
    """The indefinite article by sound, exceptions listed above."""
    if name.startswith(A):
        return "a"
    return "an" if name[0] in "aeiou" or name.startswith(AN) else "a"


def plural_of(name: str) -> str:
    """The regular English plural of the last word."""
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


def _row(cells: dict[str, str], english: dict[str, str], chinese: dict[str, str]) -> Row:
    code = code_of(cells["code"])
    name = cells["name"] or english[code].lower()
    return Row(
        code=code,
        name=name,
        plural=cells["plural"] or plural_of(name),
        article=article_of(name),
        zh=cells["zh"] or chinese[code],
        measure=cells["measure"],
        group=tuple(cells["group"].split()),
        synonyms=_list(cells["synonyms"]),
        without=_list(cells["without"]),
        preset=cells["preset"] or "full",
    )


def _list(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


def _labels(folder: Path) -> dict[str, str]:
    rows = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    return {code_of(row["hexcode"]): row["label"] for row in rows}

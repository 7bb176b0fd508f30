"""Spells out words that are to be written in a picture: "that says OPEN" is read as "that says O P E N".

A word seen a thousand times in training can be drawn from memory; one never seen can only be drawn from its letters.
"""

from __future__ import annotations

import re

_CAPITALS = re.compile(r"(?<![A-Za-z])[A-Z]{2,}(?![A-Za-z])")
_QUOTED = re.compile(r"(?<=[\"'“‘「『])[A-Za-z]{2,}(?=[\"'”’」』])")
_NARROW = {0xFEE0 + code: code for code in range(ord("A"), ord("z") + 1)}  # the wide forms of Chinese keyboards


def spelled(text: str) -> str:
    """The text with spaces between the letters of words in capitals or in quotation marks.

    Capitals mean nothing in a text that is all capitals: there only quoted words are spelled out.
    """
    text = _QUOTED.sub(_apart, text.translate(_NARROW))
    return text if _shouted(text) else _CAPITALS.sub(_apart, text)


def _shouted(text: str) -> bool:
    """Whether all its letters are capitals: Chinese characters are letters that are none."""
    return not any(letter.isalpha() and not letter.isupper() for letter in text)


def _apart(match: re.Match[str]) -> str:
    return f" {' '.join(match.group().upper())} "

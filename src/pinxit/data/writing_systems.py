"""Captions by their writing system: a text encoder that knows no Chinese should not be trained on any."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal

Script = Literal["latin", "all"]

RULES: dict[Script, str] = {"all": "all", "latin": "latin letters"}
"""What sidecars record of how captions are chosen: before it went by letters, "latin" chose fewer of them."""
FIRST_ELSEWHERE = "\u0250"  # the first character after Unicode's first blocks of Latin letters


def captions_in(captions: Sequence[str], script: Script) -> Sequence[str]:
    """The captions written in `script`; all of them if none is. Signs such as ’ and – belong to every script."""
    if script == "all":
        return captions
    return [caption for caption in captions if not any(map(_foreign, caption))] or captions


def _foreign(character: str) -> bool:
    """Whether this is a letter, and not a Latin one."""
    if character < FIRST_ELSEWHERE or not character.isalpha():
        return False
    name = unicodedata.name(character, "")
    return "LATIN" not in name and not name.startswith("MODIFIER")

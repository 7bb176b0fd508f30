"""Captions by their writing system: a text encoder that knows no Chinese should not be trained on any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Script = Literal["latin", "all"]

FIRST_ELSEWHERE = 0x0250  # the first code point after Unicode's blocks of Latin letters


def readable(captions: Sequence[str], script: Script) -> Sequence[str]:
    """The captions written in `script`; all of them if none is."""
    if script == "all":
        return captions
    return [caption for caption in captions if max(map(ord, caption), default=0) < FIRST_ELSEWHERE] or captions

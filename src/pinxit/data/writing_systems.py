"""Captions by the script they are written in: a reader that knows no Chinese should not be shown any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Script = Literal["latin", "all"]

FIRST_ELSEWHERE = 0x0250  # the first character behind the Latin letters


def readable(captions: Sequence[str], script: Script) -> Sequence[str]:
    """The captions that the reader can make something of; all of them where it knows none."""
    if script == "all":
        return captions
    return [caption for caption in captions if max(map(ord, caption), default=0) < FIRST_ELSEWHERE] or captions

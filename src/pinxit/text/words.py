"""The words of a text, so that a user can be told which of them no training caption held."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from itertools import groupby

# Scripts written without spaces: every character counts as a word.
CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_LETTERS = rf"[^\W_{CJK}]"
_CJK = re.compile(f"[{CJK}]")
_UNMARKED = re.compile(rf"{_LETTERS}+")
_VARIANTS = range(0xFE00, 0xFE10)  # of emoji


@cache
def _marks() -> str:
    """Marks that belong to letters. Most characters are letters or not assigned: left out faster than by category."""
    no_letters = filter(str.isprintable, re.sub(r"\w+", "", "".join(map(chr, range(0x300, 0x20000)))))
    marks = (one for one in no_letters if unicodedata.category(one) in ("Mn", "Mc"))
    return "".join(mark for mark in marks if ord(mark) not in _VARIANTS)


@cache
def _word(run: bool = False) -> re.Pattern[str]:
    """Letters and digits with the marks above, below and beside them, which write the vowels of Hindi or Thai.

    `run`: Chinese as far as it goes, and not character by character.
    """
    near = r"(?=[\u0300-\U0001ffff])"  # the long list of marks is looked through after no word of plain Latin
    return re.compile(rf"[{CJK}]{'+' if run else ''}|{_LETTERS}+(?:{near}[{_marks()}]+{_LETTERS}*)*")


def words(text: str) -> list[str]:
    """Words in order of appearance, lower case and NFKC: split at spaces and punctuation, Chinese by character."""
    return _word().findall(_normal(text))


def unmarked(word: str) -> list[str]:
    """A word's stretches of letters and digits; none of Chinese."""
    return _UNMARKED.findall(word)


def stretches(text: str, unknown: Collection[str]) -> list[str]:
    """Those `words` of a text that are `unknown`, each once, in order, but Chinese not character by character.

    Unknown ones that stand side by side are one; of a run without spaces, of which most are unknown, all of it.
    """
    found: dict[str, None] = {}
    for run in _word(run=True).findall(_normal(text)):
        parts = run if _CJK.match(run) else [run]
        strange = [part in unknown for part in parts]
        if 2 * sum(strange) > len(parts):
            found[run] = None
        else:
            pairs = groupby(zip(strange, parts, strict=True), key=lambda pair: pair[0])
            found |= {"".join(part for _, part in some): None for wanted, some in pairs if wanted}
    return list(found)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


def counting(texts: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    """Pass `texts` through and add their words to `counts`."""
    for text in texts:
        counts.update(words(text))
        yield text


def most_frequent(counts: Counter[str], limit: int) -> list[str]:
    """At most `limit` words, the most frequent first, ties in alphabetical order."""
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]]

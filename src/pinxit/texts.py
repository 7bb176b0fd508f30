"""Untrusted text: checked on input, escaped on output, and split into lines in one way."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pinxit.errors import UsageError

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)  # control characters (a terminal obeys them), line ends, lone surrogates (undecodable bytes), bidirectional controls
_HALF = re.compile("[\ud800-\udfff]")


def printable(text: object) -> str:
    """`text` on one line, with everything escaped that a terminal would obey or could not show."""
    return _UNPRINTABLE.sub(_escaped, str(text))


def check_text(text: str, what: str = "the text") -> str:
    """`text` itself. Raises UsageError when it is no text, or came from bytes that are not UTF-8."""
    if not isinstance(text, str):
        raise UsageError(f"{what} must be text, not {printable(text)[:80]}.")
    if _HALF.search(text):
        raise UsageError(f"{what} is not UTF-8: '{printable(text)[:80]}'.")
    return text


def check_list(texts: Iterable[str], what: str) -> None:
    """Raise UsageError for one text in place of a list, which would be taken for a list of letters."""
    if isinstance(texts, str):
        raise UsageError(f"{what} must be a list, not one text: ['{printable(texts)[:80]}'].")


def without_halves(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot encode, written as JSON escapes them: \\udcff."""
    return text.encode(errors="backslashreplace").decode()


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 shard", "1,204 shards"; `plural`: that of the noun, where it is not formed with an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def lines_of(text: str) -> list[str]:
    """The non-empty lines, stripped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode() if number < 0xD800 else f"\\u{number:04x}"

"""Cleans captions as in DeepFloyd IF's training: lower case, without links, markup, file names and advertising.

The rules and their order are those of its released code, which cleans twice, because a first pass may uncover what a
second removes. Left out is the repair of wrongly decoded text, for which that code needs a package (ftfy). Chinese
characters are removed, as they are not in its language model's vocabulary.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote_plus

PASSES = 2

_FILES = "png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4"
_DOMAIN = r"[a-z0-9.\-]+\.(?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"
_LINKS = (
    (rf"\b(?:https?:(?:/{{1,3}}|[a-z0-9%])|{_DOMAIN})", ""),
    (rf"\b(?:www:(?:/{{1,3}}|[a-z0-9%])|{_DOMAIN})", ""),
)
_WRITING = (  # normalises dashes and quotation marks, and removes most other signs
    (r"@\w+\b", ""),  # nicknames
    (r"[\u31c0-\u9fff]+", ""),  # Chinese characters and the signs that go with them
    (r"DASHES+", "-"),
    (r"[`´«»“”¨]", '"'),
    (r"[‘’]", "'"),
    (r"&quot;?|&amp", ""),
    (r"\d{1,3}(?:\.\d{1,3}){3}", " "),  # IP addresses
    (r"\d:\d\d\s+$", ""),
    (r"\\n", " "),
    (r"#\d{1,3}\b|#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"\S+\.(?:{_FILES})", ""),  # file names
    (r"[\"']{2,}", '"'),
    (r"\.{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~()\[\]{}|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)
_NOISE = (  # advertising, serial numbers, sizes
    (r"\b[a-z]{1,3}\d{3,15}\b", ""),  # jc6640
    (r"\b[a-z]+\d+[a-z]+\b", ""),  # jc6640vc
    (r"\b\d+[a-z]+\d+\b", ""),  # 6640vc231
    (r"(?:worldwide\s+)?(?:free\s+)?shipping", ""),
    (r"(?:free\s)?download(?:\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b(?:{_FILES})(?:\simages?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-z]+\d+[a-z]+\d+[a-z\d]*\b", " "),  # j2d1a2a
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # 640x480; the second x is Cyrillic
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),
    (r"\s+", " "),
)
_ENDS = (
    (r"^[\"'](.+)[\"']$", r"\1"),
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
    (r"^\.\S+$", ""),
)
_JOINTS = re.compile("[-_]")  # as in this-is-my-cat
_MOST_JOINTS = 3  # a caption with more of them has them in place of spaces


def clean_caption(text: str) -> str:
    """`text` as DeepFloyd IF's stages expect it; "" if nothing is left of it."""
    for _ in range(PASSES):
        text = _once(text)
    return text


def _once(text: str) -> str:
    text = unquote_plus(text).strip().lower().replace("<person>", "person")
    text = _replaced(text, _LINKS)
    text = _replaced(_Words.of(text), _WRITING)
    if len(_JOINTS.findall(text)) > _MOST_JOINTS:
        text = _JOINTS.sub(" ", text)
    text = html.unescape(html.unescape(_plain(text)))
    return _replaced(_replaced(text, _NOISE), _ENDS).strip()


def _replaced(text: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern.replace("DASHES", _dashes()), replacement, text, flags=re.DOTALL)
    return text


@cache
def _dashes() -> str:
    """A regular expression for any character that Unicode counts as a dash."""
    return "[" + "".join(f"\\u{n:04x}" for n in range(0x10000) if unicodedata.category(chr(n)) == "Pd") + "]"


def _plain(text: str) -> str:
    """Accented letters composed (NFC), full-width letters and ligatures as plain ones, control characters removed."""
    text = unicodedata.normalize("NFC", text)
    text = re.sub("[\uff01-\uff5e\ufb00-\ufb06]", lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return "".join(sign for sign in text if sign.isspace() or unicodedata.category(sign) != "Cc")


class _Words(HTMLParser):
    """The text that a browser would show of HTML."""

    HIDDEN = ("script", "style")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[str] = []
        self.hidden = 0

    @classmethod
    def of(cls, text: str) -> str:
        parser = cls()
        parser.feed(text)
        parser.close()
        return "".join(parser.shown)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in self.HIDDEN

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in self.HIDDEN and self.hidden > 0

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.shown.append(data)

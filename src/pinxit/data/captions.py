"""Caption files: a .txt with one caption a line, or a .json with a "caption" field."""

from __future__ import annotations

import json

from pinxit.data.problems import ItemError
from pinxit.texts import lines_of

NOT_UTF8 = "its caption is not UTF-8"
NULS = "its caption holds NUL characters, as UTF-16 does: save it as UTF-8"


def from_text(data: bytes, key: str) -> tuple[str, ...]:
    """The lines of a caption file, empty ones left out.

    Raises ItemError naming `key` when the file is not UTF-8 or holds no caption, or a NUL character.
    """
    return _some(lines_of(_utf8(data, key)), key)


def from_json(data: bytes, key: str) -> tuple[str, ...]:
    """The "captions" (a list) or "caption" (a string or a list) of an img2dataset-style JSON file.

    Raises ItemError naming `key` when the file is not UTF-8 or not JSON, or holds no caption, or a NUL character.
    """
    try:
        fields = json.loads(_utf8(data, key))
    except (ValueError, RecursionError) as error:
        raise ItemError(key, "its caption file is not JSON") from error
    captions = (fields.get("captions") or fields.get("caption")) if isinstance(fields, dict) else None
    texts = captions if isinstance(captions, list) else [captions]
    # JSON may hold half a surrogate pair, which UTF-8 cannot encode.
    valid = (text.encode(errors="replace").decode() for text in texts if isinstance(text, str))
    return _some([text.strip() for text in valid if text.strip()], key)


def _utf8(data: bytes, key: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ItemError(key, NOT_UTF8) from error


def _some(texts: list[str], key: str) -> tuple[str, ...]:
    if not texts:
        raise ItemError(key, "its caption is empty")
    if any("\0" in text for text in texts):  # ASCII in UTF-16 without its mark is also UTF-8, of NULs in between
        raise ItemError(key, NULS)
    return tuple(texts)

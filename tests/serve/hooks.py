"""Hooks as somebody may write them."""

from __future__ import annotations

from pinxit.serve.content import Content

HIDDEN: set[bytes] = set()  # pixels of pictures that are not shown
ASKED: list[str] = []  # of which kind
NEITHER = "no function"


def judge(content: Content) -> str | None:
    """Refuses a word, white pictures, and those of `HIDDEN`; breaks at another word."""
    ASKED.append(content.kind)
    if content.picture is not None:
        hidden = content.picture.tobytes() in HIDDEN or bool((content.picture == 255).all())
        return "that picture is not shown here." if hidden else None
    if "breaks" in content.text:
        raise KeyError("secret")
    return "we do not paint that here." if "forbidden" in content.text else None

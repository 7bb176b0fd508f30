"""Pictures on disk are of the format that their names say, and carry how they were made where there is room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pinxit.errors import UsageError
from pinxit.pictures import DESCRIPTION, METADATA_KEY, write_picture

GREY = np.full((8, 12, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("name", "form"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")]
)
@pytest.mark.parametrize("about", [None, {"captions": ["三 <b>"]}, {"captions": ["x" * 70_000]}])
def test_a_picture_is_what_its_ending_says(name: str, form: str, about: dict[str, Any] | None, tmp_path: Path) -> None:
    write_picture(tmp_path / name, GREY, about)
    with Image.open(tmp_path / name) as found:
        assert found.format == form and np.abs(np.array(found).astype(int) - 90).max() <= 2
        text = found.info.get(METADATA_KEY) if form == "PNG" else found.getexif().get(DESCRIPTION)
    if about is None or (form == "JPEG" and len(about["captions"][0]) == 70_000):  # a JPEG has no room for so much
        assert text is None
    else:
        assert text is not None
        assert json.loads(text if form == "PNG" else text.encode("latin-1").decode()) == about


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"16384x1 pixels is too large for webp: write a png\.$"):
        write_picture(tmp_path / "a.webp", np.zeros((1, 16_384, 3), np.uint8))
    with pytest.raises(UsageError, match=r"a\.gif names no format of pictures"):
        write_picture(tmp_path / "a.gif", GREY)
    assert not list(tmp_path.iterdir())

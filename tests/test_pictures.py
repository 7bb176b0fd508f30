"""Pictures on disk are of the format that their names say, and carry how they were made where there is room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pinxit.errors import DataError, UsageError
from pinxit.pictures import DESCRIPTION, METADATA_KEY, png_bytes, read_metadata, write_picture, write_png

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


def test_a_program_writes_to_a_path_as_text_with_numbers_of_numpy(tmp_path: Path) -> None:
    place = str(tmp_path / "a.png")
    write_png(place, GREY, {"seed": np.int64(3), "score": np.float32(0.5)})
    assert read_metadata(place) == {"seed": 3, "score": 0.5}
    write_picture(str(tmp_path / "b.jpg"), GREY)
    assert read_metadata(tmp_path / "b.jpg") == {}


def test_what_cannot_be_written_or_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    for name in ("a.png", "a.webp"):
        with pytest.raises(UsageError, match=r"0 to 255, not float64 \[8, 12, 3\]\.$"):
            write_picture(tmp_path / name, GREY / 255)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"not a ndarray\.$"):
        write_png(tmp_path / "a.png", GREY, {"embedding": GREY})
    (tmp_path / "b.png").write_bytes(png_bytes(GREY)[:20])
    (tmp_path / "c.png").write_text("none")
    for name, reason in (("a.png", "No such file"), ("b.png", "Truncated"), ("c.png", "is not a picture")):
        with pytest.raises(DataError, match=rf"{name} .*{reason}"):
            read_metadata(tmp_path / name)

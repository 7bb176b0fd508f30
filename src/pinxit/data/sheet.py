"""Contact sheets: many pictures on one, each with its caption underneath."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from pinxit.data.fonts import is_cjk, width, write
from pinxit.errors import UsageError
from pinxit.texts import check_list
from pinxit.types import check_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from pinxit.types import Picture

GAP = 12  # pixels between cells and around the sheet
WIDE = 176  # a small picture is enlarged until its cell is about as wide, so that a caption fits under it
HIGH = 10 * WIDE  # nor is it enlarged beyond this height: a picture of 1 by 5000 pixels would be 880,000 high
TEXT = 13  # pixels
LINE = 17
LINES = 6  # a longer caption ends in an ellipsis
MARGIN = 150  # at most, for the names of rows
PAPER, FRAME, INK = (255, 255, 255), (222, 222, 222), (40, 40, 40)


def sheet(
    pictures: Sequence[Picture] | NDArray[np.uint8],
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    scale: int | None = None,
    names: Sequence[str] = (),
) -> Picture:
    """One picture showing all `pictures` (uint8 [H, W, 3], any sizes) row by row, captions wrapped underneath.

    `columns` defaults to a sheet a little wider than high, `scale` (an integer, without smoothing) to one that makes
    the widest picture about WIDE pixels wide and none higher than HIGH. `names`: of the rows, written to their left.
    Raises UsageError without pictures, for what is none, and with another number of captions.
    """
    from PIL import Image

    _check(pictures, captions)
    widest = max(picture.shape[1] for picture in pictures)
    wide, high = round(WIDE / widest), HIGH // max(picture.shape[0] for picture in pictures)
    scale = max(1, scale if scale is not None else min(wide, high))
    columns = max(1, min(columns or math.ceil(math.sqrt(1.4 * len(pictures))), len(pictures)))
    cell = max(widest * scale, WIDE if wide > high else 0)  # a narrow picture's caption needs room all the same
    texts = [_wrap(caption, cell) for caption in captions] if captions is not None else [[] for _ in pictures]
    rows = [range(start, min(start + columns, len(pictures))) for start in range(0, len(pictures), columns)]
    heights = [_row_height(row, pictures, texts, scale) for row in rows]
    labels = [_wrap(name, MARGIN) for name in names]
    left = GAP + max((math.ceil(width(line, TEXT)) + GAP for lines in labels for line in lines), default=0)
    result = Image.new("RGB", (left + columns * (cell + GAP), GAP + sum(heights) + GAP * len(rows)), PAPER)
    top = GAP
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        for column, place in enumerate(row):
            image = _enlarged(pictures[place], scale)
            _draw_cell(result, left + column * (cell + GAP), top, image, texts[place])
        if number < len(labels):
            _draw_name(result, top + pictures[row[0]].shape[0] * scale // 2, labels[number])
        top += height + GAP
    return _array(result)


def _check(pictures: Sequence[Picture] | NDArray[np.uint8], captions: Sequence[str] | None) -> None:
    if len(pictures) == 0:
        raise UsageError("a sheet needs at least one picture.")
    check_pixels(*pictures)
    if captions is not None:
        check_list(captions, "captions")
    if captions is not None and len(captions) != len(pictures):
        raise UsageError(f"a sheet of {len(pictures)} pictures needs as many captions, not {len(captions)}.")


def _draw_cell(result: Image, left: int, top: int, image: Image, lines: list[str]) -> None:
    """A picture in a thin frame, so that a white ground has an edge, with its caption underneath."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(result)
    draw.rectangle((left - 1, top - 1, left + image.width, top + image.height), outline=FRAME)
    result.paste(image, (left, top))
    for number, line in enumerate(lines, 1):
        write(draw, (left, top + image.height + LINE * number), line, TEXT, INK)


def _draw_name(result: Image, middle: int, lines: list[str]) -> None:
    """The name of a row, at the height of the middle of its pictures."""
    from PIL import ImageDraw

    draw, top = ImageDraw.Draw(result), middle - LINE * len(lines) // 2
    for number, line in enumerate(lines, 1):
        write(draw, (GAP, top + LINE * number - 4), line, TEXT, INK)


def _row_height(row: range, pictures: Sequence[Picture] | NDArray[np.uint8], texts: list[list[str]], scale: int) -> int:
    """Pixels from the top of the highest picture to the foot of the longest caption."""
    return max(pictures[i].shape[0] * scale + (4 + LINE * len(texts[i]) if texts[i] else 0) for i in row)


def _enlarged(picture: Picture, scale: int) -> Image:
    from PIL import Image

    image = Image.fromarray(picture)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _wrap(text: str, limit: int) -> list[str]:
    """`text` as at most LINES lines of at most `limit` pixels; a newline in it starts a new line."""
    wrapped = (line for paragraph in text.splitlines() for line in _wrap_paragraph(paragraph, limit))
    lines = list(islice(wrapped, LINES + 1))  # a caption may be a whole book, which takes long to measure
    if len(lines) <= LINES:
        return lines
    last = lines[LINES - 1]
    while last and width(last + "…", TEXT) > limit:
        last = last[:-1]
    return [*lines[: LINES - 1], last + "…"]


def _wrap_paragraph(text: str, limit: int) -> list[str]:
    """Lines broken between words or Chinese characters, or inside a word that is too long."""
    lines = [""]
    for part in _parts(" ".join(text.split())[: (LINES + 1) * limit]):  # a character has at least a pixel
        if width((lines[-1] + part).rstrip(), TEXT) <= limit:
            lines[-1] += part
        elif width(part.rstrip(), TEXT) <= limit:
            lines.append(part)
        else:
            for character in part:
                if lines[-1] and width(lines[-1] + character, TEXT) > limit:
                    lines.append("")
                lines[-1] += character
    return [line.strip() for line in lines if line.strip()]


def _parts(text: str) -> list[str]:
    """The parts of a text that are not broken: words with the space after them, and single Chinese characters."""
    parts = [""]
    for character in text:
        if parts[-1] and (is_cjk(character) or is_cjk(parts[-1][-1]) or parts[-1][-1] == " "):
            parts.append("")
        parts[-1] += character
    return parts


def _array(image: Image) -> Picture:
    import numpy as np

    return np.array(image)

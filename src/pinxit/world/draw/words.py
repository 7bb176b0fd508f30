"""Words on signs: a small alphabet of 5 by 7 cells, drawn here so that no machine's fonts matter."""

from __future__ import annotations

from pinxit.errors import DataError
from pinxit.world.draw.palette import RGB
from pinxit.world.draw.pen import Pen

ROWS = 7
_GLYPHS = {  # seven rows from the top, each a number whose five bits are the cells from the left
    "A": "04 0A 11 11 1F 11 11",
    "B": "1E 11 11 1E 11 11 1E",
    "C": "0E 11 10 10 10 11 0E",
    "D": "1E 11 11 11 11 11 1E",
    "E": "1F 10 10 1E 10 10 1F",
    "F": "1F 10 10 1E 10 10 10",
    "G": "0E 11 10 17 11 11 0F",
    "H": "11 11 11 1F 11 11 11",
    "I": "0E 04 04 04 04 04 0E",
    "J": "07 02 02 02 02 12 0C",
    "K": "11 12 14 18 14 12 11",
    "L": "10 10 10 10 10 10 1F",
    "M": "11 1B 15 15 11 11 11",
    "N": "11 19 19 15 13 13 11",
    "O": "0E 11 11 11 11 11 0E",
    "P": "1E 11 11 1E 10 10 10",
    "Q": "0E 11 11 11 15 12 0D",
    "R": "1E 11 11 1E 14 12 11",
    "S": "0F 10 10 0E 01 01 1E",
    "T": "1F 04 04 04 04 04 04",
    "U": "11 11 11 11 11 11 0E",
    "V": "11 11 11 11 0A 0A 04",
    "W": "11 11 11 15 15 1B 11",
    "X": "11 11 0A 04 0A 11 11",
    "Y": "11 11 0A 04 04 04 04",
    "Z": "1F 01 02 04 08 10 1F",
    "0": "0E 11 13 15 19 11 0E",
    "1": "04 0C 04 04 04 04 0E",
    "2": "0E 11 01 06 08 10 1F",
    "3": "1E 01 01 0E 01 01 1E",
    "4": "02 06 0A 12 1F 02 02",
    "5": "1F 10 1E 01 01 11 0E",
    "6": "0E 10 10 1E 11 11 0E",
    "7": "1F 01 02 02 04 04 04",
    "8": "0E 11 11 0E 11 11 0E",
    "9": "0E 11 11 0F 01 01 0E",
    " ": "00 00 00 00 00 00 00",
    "!": "04 04 04 04 04 00 04",
    "?": "0E 11 01 06 04 00 04",
    "-": "00 00 00 0E 00 00 00",
    "&": "08 14 14 08 15 12 0D",
    "'": "04 04 08 00 00 00 00",
    ".": "00 00 00 00 00 00 04",
}
Glyph = tuple[int, tuple[tuple[int, int], ...]]  # width in cells, the inked cells (column, row)


def _glyph(rows: str) -> Glyph:
    bits = [int(row, 16) for row in rows.split()]
    cells = [(column, row) for row, line in enumerate(bits) for column in range(5) if line >> (4 - column) & 1]
    left = min((column for column, _ in cells), default=0)
    right = max((column for column, _ in cells), default=2)
    return right - left + 1, tuple((column - left, row) for column, row in cells)


ALPHABET: dict[str, Glyph] = {letter: _glyph(rows) for letter, rows in _GLYPHS.items()}


def columns(text: str) -> int:
    """Width of a line in cells, one empty cell between letters. Raises DataError for a letter that is not drawn."""
    for letter in text.upper():
        if letter not in ALPHABET:
            raise DataError(f"the world cannot write '{letter}' in '{text}'; use letters, digits and spaces.")
    return sum(ALPHABET[letter][0] + 1 for letter in text.upper()) - 1


def lines_of(text: str, aspect: float) -> list[str]:
    """`text` on as many lines as show it largest in a region of this width over height."""
    words = text.split()
    if not words:
        raise DataError("there is nothing to write: the words on a sign are empty.")
    options = [_wrapped(words, count) for count in range(1, len(words) + 1)]
    return max(options, key=lambda lines: min(aspect / max(map(columns, lines)), 1 / (len(lines) * (ROWS + 2) - 2)))


def _wrapped(words: list[str], count: int) -> list[str]:
    """The words on `count` lines of nearly equal length."""
    target = len(" ".join(words)) / count
    lines: list[str] = [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and len(longer) > target + 1 and len(lines) < count:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def write(pen: Pen, text: str, ink: RGB) -> None:
    """Write `text` in capitals, as large as fits, in the middle of the pen's region."""
    lines = lines_of(text, pen.aspect)
    across = max(map(columns, lines))
    down = len(lines) * (ROWS + 2) - 2
    cell = min(1 / across, 1 / (down * pen.aspect))  # width of a cell, as a share of the region's width
    high = cell * pen.aspect
    for number, line in enumerate(lines):
        x = 0.5 - columns(line) * cell / 2
        y = 0.5 + (number * (ROWS + 2) - down / 2) * high
        for letter in line.upper():
            width, cells = ALPHABET[letter]
            for column, row in cells:
                left, top = x + column * cell, y + row * high
                pen.cell(left, top, left + cell, top + high, ink)
            x += (width + 1) * cell

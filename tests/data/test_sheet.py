from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pinxit.data import fonts
from pinxit.data.fonts import width
from pinxit.data.sheet import GAP, HIGH, INK, LINE, LINES, WIDE, sheet
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.types import Picture


def plain(value: int, height: int = 64, width: int = 64) -> Picture:
    return np.full((height, width, 3), value, dtype=np.uint8)


def inked(area: Picture) -> bool:
    return bool((np.abs(area.astype(int) - INK).sum(-1) < 30).any())


def test_pictures_stand_row_by_row_enlarged_without_smoothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    result = sheet([plain(1), plain(2), picture], columns=2, scale=2)
    assert result.dtype == np.uint8 and result.shape == (GAP + 2 * (128 + GAP), GAP + 2 * (128 + GAP), 3)
    assert (result[GAP : GAP + 128, GAP : GAP + 128] == 1).all()
    assert (result[GAP : GAP + 128, 2 * GAP + 128 : 2 * GAP + 256] == 2).all()
    below = result[2 * GAP + 128 : 2 * GAP + 256, GAP : GAP + 128]
    assert np.array_equal(below, np.kron(picture, np.ones((2, 2, 1), np.uint8)))
    assert (result[2 * GAP + 128 :, 2 * GAP + 128 :] == 255).all(), "the last cell is empty"


def test_captions_stand_under_their_picture() -> None:
    result = sheet([plain(200), plain(200)], ["a red cube", ""], columns=2, scale=3)
    under = result[GAP + 192 :]
    assert inked(under[:, : GAP + 192]) and not inked(under[:, GAP + 192 :])
    assert not inked(result[: GAP + 192])


@pytest.mark.parametrize(
    "text", ["a very small red cube on top of a big green cube " * 9, "一个红色的立方体" * 20, "x" * 500]
)
def test_long_captions_wrap_and_end(text: str) -> None:
    result = sheet([plain(200)], [text], scale=3)
    assert result.shape[0] == GAP + 192 + 4 + LINES * LINE + GAP
    assert not inked(result[:, GAP + 192 + 1 :]), "no line leaves its cell"


@pytest.mark.parametrize("text", ["a cube " * 5000, "x" * 30_000, "a cube\n" * 5000], ids=["words", "word", "lines"])
def test_no_more_of_a_caption_is_measured_than_may_be_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def noted(text: str, size: int) -> float:
        measured.append(text)
        return width(text, size)

    monkeypatch.setattr("pinxit.data.sheet.width", noted)
    sheet([plain(200)], [text], scale=1)
    assert len(measured) < 4000 and max(map(len, measured)) < 4000


def test_a_line_break_in_a_caption_is_kept() -> None:
    assert sheet([plain(200)], ["a\nb\n\nc"], scale=3).shape[0] == GAP + 192 + 4 + 3 * LINE + GAP


def test_one_row_takes_the_height_of_its_longest_caption_only() -> None:
    result = sheet([plain(9)] * 2, ["a red cube on top of a big green cube", "x"], columns=1, scale=3)
    assert result.shape[0] == GAP + (192 + 4 + 2 * LINE) + GAP + (192 + 4 + LINE) + GAP


def test_pictures_of_different_sizes_share_a_sheet() -> None:
    result = sheet([plain(1, 32, 64), plain(2, 64, 32)], scale=1)
    assert (result[GAP : GAP + 32, GAP : GAP + 64] == 1).all()
    assert (result[GAP : GAP + 64, 2 * GAP + 64 : 2 * GAP + 96] == 2).all()


def test_a_stack_is_a_list() -> None:
    stack = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(sheet(stack), sheet(list(stack)))


def test_bad_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        sheet([])
    with pytest.raises(UsageError, match="as many captions"):
        sheet([plain(0)], ["a", "b"])
    with pytest.raises(UsageError, match="captions must be a list, not one text"):
        sheet([plain(0)], "a")
    with pytest.raises(UsageError, match="0 to 255, not float64"):
        sheet([plain(0) / 255])  # type: ignore[list-item]


def test_chinese_without_a_chinese_font_still_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_font_files", lambda: ())
    fonts.system_font.cache_clear()
    fonts.font.cache_clear()
    try:
        result = sheet([plain(200)], ["一个红色的立方体"], scale=3)
        assert fonts.system_font("chinese") is None
        assert inked(result[GAP + 192 :])
    finally:
        fonts.system_font.cache_clear()
        fonts.font.cache_clear()


def test_each_script_is_drawn_by_its_own_font() -> None:
    assert fonts.runs("a cat…") == [("ascii", "a cat…")]
    assert fonts.runs("a café") == [("latin", "a café")]
    assert fonts.runs("写着HELLO") == [("chinese", "写着"), ("ascii", "HELLO")]
    assert fonts.runs("") == []
    assert fonts.width("写着HELLO", 13) == fonts.width("写着", 13) + fonts.width("HELLO", 13)


def test_importing_the_sheet_loads_nothing_heavy() -> None:
    check = "import sys, pinxit.data.sheet; sys.exit(bool({'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_names_stand_to_the_left_of_their_rows() -> None:
    pictures = [plain(200)] * 4
    bare, named = sheet(pictures, columns=2, scale=2), sheet(pictures, columns=2, scale=2, names=["guidance=4", ""])
    margin = named.shape[1] - bare.shape[1]
    assert margin > 40 and named.shape[0] == bare.shape[0]
    assert np.array_equal(named[:, margin + GAP :], bare[:, GAP:])
    assert inked(named[: GAP + 128, :margin]) and not inked(named[GAP + 128 :, :margin])


def test_a_very_narrow_picture_makes_no_huge_sheet() -> None:
    """It was enlarged until it was as wide as a caption: 880,000 pixels high."""
    narrow = np.zeros((5000, 1, 3), np.uint8)
    assert sheet([narrow], ["a caption"]).shape == (GAP + 5000 + 4 + LINE + GAP, GAP + WIDE + GAP, 3)
    less = np.zeros((100, 1, 3), np.uint8)
    assert sheet([less]).shape == (GAP + HIGH // 100 * 100 + GAP, GAP + WIDE + GAP, 3)

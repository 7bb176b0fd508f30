"""The reader: where strips come from, how steps become letters, and that it reads letters and not words."""

from __future__ import annotations

import pytest
import torch

from pinxit.models.letter_reader import BLANK, HIGH, STEPS, WIDE, LetterReader, spelled, strips


def test_strips_are_the_board_alone_at_any_contrast() -> None:
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[1, :, 16:32, 8:40] = 0.5  # the board
    pictures[1, :, 16:32, 24:40] = 0.6  # its right half is a little lighter
    board = torch.tensor([[10 / 64, 18 / 64, 38 / 64, 30 / 64]])
    seen = strips(pictures, torch.tensor([1]), board)
    assert seen.shape == (1, 3, HIGH, WIDE)
    left, right = seen[..., : WIDE // 2 - 2], seen[..., WIDE // 2 + 2 :]
    assert left.std() < 1e-3 and right.std() < 1e-3 and (left.mean() + right.mean()).abs() < 0.02
    assert right.mean() == pytest.approx(1, abs=0.05)
    assert strips(pictures, torch.tensor([0]), board).abs().max() < 1e-3, "nothing is written on an even ground"


def test_repeated_steps_are_one_letter_and_blanks_part_them() -> None:
    steps = torch.tensor([[BLANK, 1, 1, BLANK, 1, 2, 2, BLANK], [BLANK] * 8])
    told = torch.nn.functional.one_hot(steps, 4).float().transpose(0, 1)
    assert spelled(told, "ABC") == ["AAB", ""]


def test_shapes_and_none_to_read() -> None:
    reader = LetterReader(26).eval()
    told = reader(torch.rand(2, 3, 64, 64), torch.tensor([0, 1, 1]), torch.tensor([[0.1, 0.1, 0.9, 0.5]]).expand(3, 4))
    assert told.shape == (STEPS, 3, 27)
    torch.testing.assert_close(told.exp().sum(2), torch.ones(STEPS, 3))
    assert reader(torch.rand(1, 3, 64, 64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)).shape == (
        STEPS,
        0,
        27,
    )

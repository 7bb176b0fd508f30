"""The reader: where strips come from, how steps become letters, and that it reads letters and not words."""

from __future__ import annotations

import pytest
import torch

from pinxit.models.reader import BLANK, HIGH, STEPS, WIDE, Reader, spelled, strips
from pinxit.recipes.judge_further import board_of
from pinxit.world.dice import Dice
from pinxit.world.draw import render
from pinxit.world.roles import SIGN_WORDS
from pinxit.world.scene import Item, Scene
from pinxit.world.sign_words import LETTERS
from pinxit.world.vocabulary import COLOURS


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
    reader = Reader(26).eval()
    told = reader(torch.rand(2, 3, 64, 64), torch.tensor([0, 1, 1]), torch.tensor([[0.1, 0.1, 0.9, 0.5]]).expand(3, 4))
    assert told.shape == (STEPS, 3, 27)
    torch.testing.assert_close(told.exp().sum(2), torch.ones(STEPS, 3))
    assert reader(torch.rand(1, 3, 64, 64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)).shape == (
        STEPS,
        0,
        27,
    )


@pytest.mark.slow
def test_words_that_were_never_shown_are_read() -> None:
    """Two minutes of letter strings, and nearly every word of the language is read that is no such string."""
    renders = [sign(word, index) for index, word in enumerate(strings(1200))]
    reader, draws = Reader(26), torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    for step in range(400):
        chosen = torch.randint(len(renders), (24,), generator=draws).tolist()
        pictures, boards = torch.stack([renders[i][0] for i in chosen]), torch.stack([renders[i][1] for i in chosen])
        words = [renders[i][2] for i in chosen]
        targets = torch.tensor([1 + LETTERS.index(letter) for word in words for letter in word])
        lengths = torch.tensor([len(word) for word in words])
        told = reader(pictures, torch.arange(24), boards + 0.01 * torch.randn(24, 4, generator=draws))
        cost = torch.nn.functional.ctc_loss(told, targets, torch.full((24,), STEPS), lengths, BLANK)
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / 400)
        optimiser.zero_grad()
        torch.autograd.backward(cost)
        optimiser.step()
    shown = {word for _, _, word in renders}
    known = [word for word in SIGN_WORDS if word not in shown]
    signs = [sign(word, -index) for index, word in enumerate(known)]
    with torch.no_grad():
        told = reader.eval()(
            torch.stack([one[0] for one in signs]), torch.arange(len(known)), torch.stack([one[1] for one in signs])
        )
    right = [one == word for one, word in zip(spelled(told, LETTERS), known, strict=True)]
    assert len(known) > 90 and sum(right) / len(right) > 0.9


def strings(count: int) -> list[str]:
    dice = Dice("strings")
    return ["".join(dice.pick(LETTERS) for _ in range(dice.between(3, 6))) for _ in range(count)]


def sign(word: str, index: int) -> tuple[torch.Tensor, torch.Tensor, str]:
    """A picture of a sign or storefront, its board, its word."""
    dice = Dice("sign", index)
    name, x, y, size = dice.pick(("sign", "storefront")), *(dice.between(0, 8) for _ in range(2)), dice.between(48, 56)
    item = Item(name, "made", (x / 64, y / 64, (x + size) / 64, (y + size) / 64), colour=dice.pick(COLOURS), words=word)
    picture = render(Scene("words", (item,), place=dice.pick(COLOURS), noise=index), 64)
    return torch.tensor(picture).permute(2, 0, 1) / 255, board_of(name, torch.tensor(item.box)), word

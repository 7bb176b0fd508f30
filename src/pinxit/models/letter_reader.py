"""How the judge reads text on boards, letter by letter, by a small convolutional network and CTC.

It recognises letters, not words: a step sees about two letters' width, so that a word that training never showed is
read as well as one that it did. Shapes: B pictures, M boards of all pictures together, T steps from left to right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HIGH, WIDE = 24, 96  # pixels of the strip that a board is resized to
STEPS = WIDE // 2  # T
BLANK = 0  # CTC's "no letter"; letter i is class i + 1
_WIDTHS = (24, 48, 64, 96)


class LetterReader(nn.Module):
    """Reads the letters on boards, at most `STEPS` a board."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        one, two, three, four = _WIDTHS
        self.stem = nn.Sequential(*_layer(3, one), nn.MaxPool2d(2))
        self.look = nn.Sequential(
            *_layer(one, two), nn.MaxPool2d((2, 1)), *_layer(two, three), nn.MaxPool2d((2, 1)), *_layer(three, four)
        )
        self.column = nn.Sequential(nn.Conv2d(four, four, (HIGH // 8, 5), padding=(0, 2)), nn.ReLU())
        self.tell = nn.Sequential(
            nn.Conv1d(four, four, 5, padding=4, dilation=2), nn.ReLU(), nn.Conv1d(four, 1 + letters, 1)
        )

    def forward(self, pictures_B3HW: Tensor, picture_M: Tensor, board_M4: Tensor) -> Tensor:
        """Log-probabilities [T, M, 1 + letters] for boards (x0, y0, x1, y1 as shares of the picture's side)."""
        x = strips(pictures_B3HW, picture_M, board_M4)
        columns = self.column(self.look(self.stem(x)))
        return self.tell(columns.squeeze(2)).permute(2, 0, 1).float().log_softmax(2)  # type: ignore[no-any-return]


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def strips(pictures_B3HW: Tensor, picture_M: Tensor, board_M4: Tensor) -> Tensor:
    """Each board resized to HIGH x WIDE pixels and normalised to mean 0 and deviation 1: [M, 3, HIGH, WIDE]."""
    low, high = board_M4[:, :2], board_M4[:, 2:]
    rows, columns = ((torch.arange(n, device=board_M4.device) + 0.5) / n for n in (HIGH, WIDE))
    x = low[:, :1] + columns * (high - low)[:, :1]
    y = low[:, 1:] + rows * (high - low)[:, 1:]
    where = torch.stack([x[:, None, :].expand(-1, HIGH, -1), y[:, :, None].expand(-1, -1, WIDE)], -1) * 2 - 1
    seen = F.grid_sample(pictures_B3HW.float()[picture_M], where, padding_mode="border", align_corners=False)
    flat = seen.flatten(1)
    spread = flat.std(1, keepdim=True).clamp(min=0.02) if len(flat) else flat.sum(1, keepdim=True)
    return ((flat - flat.mean(1, keepdim=True)) / spread).view(seen.shape)


def spelled(logits_TML: Tensor, letters: str) -> list[str]:
    """Best-path CTC decoding: the likeliest letter of every step, repeats merged (Graves et al. 2006, section 3.2)."""
    words = []
    for steps in logits_TML.argmax(2).T.tolist():
        kept = [c for c, before in zip(steps, [BLANK, *steps], strict=False) if c not in (BLANK, before)]
        words.append("".join(letters[c - 1] for c in kept))
    return words

"""Ranking: the highest cosine first, ties by index, and no picture's score depends on its company."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.models.clip import CLIP, CLIPConfig, TextConfig, VisionConfig
from pinxit.pipelines.rank import encode_fixed, rank

if TYPE_CHECKING:
    from pinxit.types import Picture


def plain(colour: tuple[int, int, int], side: int = 4) -> Picture:
    return np.full((side, side, 3), colour, dtype=np.uint8)


def mean_colour(pictures: Tensor) -> Tensor:
    return pictures.mean((2, 3))


def test_best_first_by_cosine_not_by_length() -> None:
    pictures = [plain((90, 90, 0)), plain((0, 255, 0)), plain((10, 0, 0)), plain((255, 128, 0))]
    ranked = rank(mean_colour, torch.tensor([2.0, 0, 0]), pictures, [7, 7, 8, 8], [0, 1, 0, 1])
    assert [(r.seed, r.candidate) for r in ranked] == [(8, 0), (8, 1), (7, 0), (7, 1)]
    assert [r.score for r in ranked] == pytest.approx([1.0, 255 / np.hypot(255, 128), 0.5**0.5, 0.0])
    assert ranked[0].picture is pictures[2]


def test_equal_scores_keep_the_order_of_candidates() -> None:
    pictures = [plain((c, 0, 0)) for c in (10, 200, 30, 90)]
    ranked = rank(mean_colour, torch.tensor([1.0, 0, 0]), pictures, [1] * 4, [0, 1, 2, 3])
    assert [r.candidate for r in ranked] == [0, 1, 2, 3]


def test_the_encoder_always_sees_one_shape() -> None:
    shapes = []

    def encode(rows: Tensor) -> Tensor:
        shapes.append(tuple(rows.shape))
        return rows * 2

    rows = torch.arange(22.0).view(11, 2)
    torch.testing.assert_close(encode_fixed(encode, rows, 4), rows * 2)
    assert shapes == [(4, 2)] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_picture_scores_the_same_in_any_company(dtype: torch.dtype) -> None:
    """Bit for bit: alone, among others, in another place of the batch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vision = VisionConfig(size=64, patch=8, width=128, layers=2, heads=2)
        clip = CLIP(CLIPConfig(64, vision, TextConfig(vocab=20, width=64, layers=1, heads=1, eot=3))).to(dtype).eval()
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(7)]
    text = torch.randn(64, generator=torch.Generator().manual_seed(1)).to(dtype)

    def scores(order: list[int]) -> dict[int, float]:
        ranked = rank(
            lambda x: clip.encode_image(x.to(dtype)), text, [pictures[i] for i in order], [0] * len(order), order, 4
        )
        return {one.candidate: one.score for one in ranked}

    together = scores([0, 1, 2, 3, 4, 5, 6])
    assert len(set(together.values())) == 7
    assert scores([6, 2, 5, 0, 3, 1, 4]) == together
    for one in range(7):
        assert scores([one])[one] == together[one]


def test_lists_of_different_length_are_refused_and_nothing_ranks_as_nothing() -> None:
    with pytest.raises(ValueError, match="zip"):
        rank(mean_colour, torch.ones(3), [plain((1, 2, 3))], [0, 1], [0])
    assert rank(mean_colour, torch.ones(3), [], [], []) == []

"""Ranking: the highest cosine first, ties by index, and no picture's score depends on its company."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.data.transforms import to_tensor as from_array
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.pipelines.rank import best_first, encode_fixed, scores, to_tensor

if TYPE_CHECKING:
    from pinxit.types import Picture


def plain(colour: tuple[int, int, int], side: int = 4) -> Picture:
    return np.full((side, side, 3), colour, dtype=np.uint8)


def test_best_first_by_cosine_not_by_length() -> None:
    images = torch.tensor([[90.0, 90, 0], [0, 255, 0], [10, 0, 0], [255, 128, 0]])
    pictures = [plain((k, 0, 0)) for k in range(4)]
    ranked = best_first(pictures, 7, scores(images, torch.tensor([2.0, 0, 0])))
    assert [(r.seed, r.candidate) for r in ranked] == [(7, 2), (7, 3), (7, 0), (7, 1)]
    assert [r.score for r in ranked] == pytest.approx([1.0, 255 / np.hypot(255, 128), 0.5**0.5, 0.0])
    assert ranked[0].picture is pictures[2]


def test_equal_scores_keep_the_order_of_candidates_and_a_bonus_breaks_ties() -> None:
    pictures = [plain((c, 0, 0)) for c in (10, 200, 30, 90)]
    assert [r.candidate for r in best_first(pictures, 1, [1.0] * 4)] == [0, 1, 2, 3]
    ranked = best_first(pictures, 1, [1.0] * 4, [0, 0.5, 0, 0.25])
    assert [(r.candidate, r.score) for r in ranked] == [(1, 1.5), (3, 1.25), (0, 1.0), (2, 1.0)]


def test_agreement_lowers_the_one_that_only_the_text_likes() -> None:
    """Three alike and one apart that is nearest to the text: worked out by hand."""
    images, text = torch.tensor([[3.0, 4], [3, 4], [6, 8], [2, 0]]), torch.tensor([1.0, 0])
    assert scores(images, text) == pytest.approx([0.6, 0.6, 0.6, 1.0])
    middle = np.array([0.7, 0.6]) / np.hypot(0.7, 0.6)  # (3 * (0.6, 0.8) + (1, 0)) / 4, at length one
    alike, apart = middle @ [0.6, 0.8], middle @ [1, 0]
    agreed = scores(images, text, agreement=2.0)
    assert agreed == pytest.approx([*[0.6 - 2 * (1 - alike)] * 3, 1 - 2 * (1 - apart)])
    assert agreed[0] > agreed[3]
    assert scores(images[3:], text, agreement=2.0) == pytest.approx([1.0]), "nobody to agree with"


def test_the_encoder_always_sees_one_shape() -> None:
    shapes = []

    def encode(rows: Tensor) -> Tensor:
        shapes.append(tuple(rows.shape))
        return rows * 2

    rows = torch.arange(22.0).view(11, 2)
    torch.testing.assert_close(encode_fixed(encode, rows, 4), rows * 2)
    assert shapes == [(4, 2)] * 3


def test_a_batch_that_is_not_full_lies_in_memory_as_a_full_one() -> None:
    """Kernels differ by it: alone, a candidate's score differed in the ninth digit."""
    pictures, strides = [plain((1, 2, 3))] * 3, []

    def encode(x: torch.Tensor) -> torch.Tensor:
        strides.append(x.stride())
        return x.flatten(1)

    encode_fixed(encode, to_tensor(pictures), 2)
    encode_fixed(encode, to_tensor([np.asfortranarray(pictures[0])]), 2)
    encode_fixed(encode, from_array(np.asfortranarray(pictures)), 2)
    assert len(strides) == 5 and len(set(strides)) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_picture_scores_the_same_in_any_company(dtype: torch.dtype) -> None:
    """Bit for bit: alone, among others, in another place of the batch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vision = CLIPVisionConfig(size=64, patch=8, width=128, layers=2, heads=2)
        clip = (
            CLIP(CLIPConfig(64, vision, CLIPTextConfig(vocab=20, width=64, layers=1, heads=1, eot=3))).to(dtype).eval()
        )
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(7)]
    text = torch.randn(64, generator=torch.Generator().manual_seed(1)).to(dtype)

    def scored(order: list[int]) -> dict[int, float]:
        images = encode_fixed(lambda x: clip.encode_image(x.to(dtype)), to_tensor([pictures[i] for i in order]), 4)
        return dict(zip(order, scores(images, text), strict=True))

    together = scored([0, 1, 2, 3, 4, 5, 6])
    assert len(set(together.values())) == 7
    assert scored([6, 2, 5, 0, 3, 1, 4]) == together
    for one in range(7):
        assert scored([one])[one] == together[one]


def test_lists_of_different_length_are_refused_and_nothing_ranks_as_nothing() -> None:
    with pytest.raises(ValueError, match="zip"):
        best_first([plain((1, 2, 3))], 0, [0.5, 0.5])
    assert best_first([], 0, []) == []

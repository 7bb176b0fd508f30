"""The text transformer that is trained from scratch: pads say nothing, and it learns."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pinxit.config import from_dict, to_dict
from pinxit.errors import UsageError
from pinxit.models.text import TextTransformer, TextTransformerConfig

SMALL = TextTransformerConfig(vocab=50, tokens=16, width=32, layers=2, heads=4)


def ids(rows: int, length: int = 12) -> torch.Tensor:
    """Rows of different lengths, pads behind."""
    made = torch.randint(4, 50, (rows, length), generator=torch.Generator().manual_seed(1))
    for row in range(rows):
        made[row, 3 + row % (length - 2) :] = 0
    return made


def test_has_the_size_of_minilm_but_for_the_words() -> None:
    with torch.device("meta"):
        model = TextTransformer(TextTransformerConfig())
    blocks = sum(p.numel() for p in model.blocks.parameters())
    assert blocks == 10_646_784  # the six layers of all-MiniLM-L6-v2
    assert from_dict(TextTransformerConfig, to_dict(SMALL)) == SMALL


def test_pads_change_nothing_and_are_zeros() -> None:
    model, rows = TextTransformer(SMALL).eval(), ids(4)
    said = model(rows)
    assert torch.equal(said.mask, rows != 0) and not said.sequence[~said.mask].any()
    for row in range(4):
        alone = model(rows[row : row + 1, : 3 + row])
        torch.testing.assert_close(said.sequence[row, : 3 + row], alone.sequence[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(said.pooled[row], alone.sequence[0].mean(0), atol=1e-5, rtol=1e-4)
    assert torch.isfinite(model(torch.zeros(1, 5, dtype=torch.int64)).sequence).all()


def test_every_token_sees_every_other() -> None:
    model, rows = TextTransformer(SMALL), ids(1)[:, :3]
    other = rows.clone()
    other[0, 2] = 4 + (other[0, 2] - 3) % 46
    assert (model(rows).sequence[0, 0] - model(other).sequence[0, 0]).abs().max() > 1e-6


def test_initial_weights_depend_on_the_seed_alone() -> None:
    one, same, other = (TextTransformer(SMALL, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["tokens"], other["tokens"])


def test_overfits_eight_texts() -> None:
    model, rows = TextTransformer(SMALL), ids(8)
    head = torch.nn.Linear(32, 8)
    optimiser = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(head(model(rows).pooled), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert head(model(rows).pooled).argmax(1).tolist() == list(range(8))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of heads, 5"):
        TextTransformerConfig(heads=5)
    with pytest.raises(UsageError, match=r"text\.layers must be from 1 to 256, not 0"):
        TextTransformerConfig(layers=0)

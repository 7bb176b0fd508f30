"""The token transformer: the paper's size, what its positions see, and that it learns."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from pinxit.config import from_dict, to_dict
from pinxit.errors import UsageError
from pinxit.functional.masks import Attention, Kind
from pinxit.functional.tokens import token_loss
from pinxit.models import attention
from pinxit.models.attention import StreamAttention
from pinxit.models.transformer import TokenTransformer, TransformerConfig

SMALL: dict[str, Any] = {
    "text_vocab": 40, "text_tokens": 6, "image_codes": 50, "grid": 5, "dim": 32, "depth": 4, "heads": 4, "kernel": 3
}  # fmt: skip
both_kinds = pytest.mark.parametrize("kind", get_args(Attention))


def build(seed: int = 0, **changes: Any) -> TokenTransformer:
    return TokenTransformer(TransformerConfig(**(SMALL | changes)), seed)


def stirred(**changes: Any) -> TokenTransformer:
    """A model whose every parameter matters: gains, biases and pads are no longer at their initial values."""
    model, generator = build(**changes), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def sequences(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 40, (count, 6), generator=generator)
    for row, length in enumerate(torch.randint(2, 7, (count,), generator=generator).tolist()):
        text[row, length:] = 0
    return text, torch.randint(0, 50, (count, 25), generator=generator)


@pytest.mark.parametrize(("dim", "heads", "published"), [(3968, 62, 12.0e9), (2688, 42, 5.6e9), (1920, 30, 2.8e9)])
def test_paper_sizes(dim: int, heads: int, published: float) -> None:
    """The article's table of sizes counts attention and MLPs; embeddings and output rows come on top."""
    with torch.device("meta"):
        model = TokenTransformer(TransformerConfig(dim=dim, heads=heads))
    blocks = sum(p.numel() for p in model.blocks.parameters())
    assert blocks == pytest.approx(published, rel=0.012)
    assert sum(p.numel() for p in model.parameters()) - blocks == (2 * (16384 + 8192) + 2 * 256 + 2 * 32 + 3) * dim
    assert model.embed.text.shape == (16384 + 256, dim)
    assert len(model.blocks) == 64
    assert model.config.image_tokens + model.config.text_tokens == 1280


def test_separate_output_tables_add_their_rows() -> None:
    tied, separate = build(tied=True), build()
    extra = sum(p.numel() for p in separate.parameters()) - sum(p.numel() for p in tied.parameters())
    assert extra == (40 + 50) * 32


@both_kinds
@pytest.mark.parametrize("changes", [{}, {"start_of_image": True}, {"tied": True}], ids=["plain", "start", "tied"])
def test_untrained_it_knows_nothing(kind: str, changes: dict[str, Any]) -> None:
    text_logits, image_logits = build(attention=kind, **changes)(*sequences(3))
    assert text_logits.shape == (3, 6, 40)
    assert image_logits.shape == (3, 25, 50)
    _, text_ce, image_ce = token_loss(text_logits, image_logits, *sequences(3))
    assert float(text_ce.detach()) == pytest.approx(math.log(40), abs=0.15)
    assert float(image_ce.detach()) == pytest.approx(math.log(50), abs=0.15)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = build(seed=3).state_dict()
    torch.manual_seed(6)
    same, other = build(seed=3).state_dict(), build(seed=4).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["embed.text"], other["embed.text"])
    assert float(one["blocks.0.down.weight"].std()) == pytest.approx(0.02 / math.sqrt(8), rel=0.05)


def test_masks_are_not_stored() -> None:
    """A checkpoint holds weights only: masks follow from the config."""
    assert not [name for name in build().state_dict() if name.startswith("attention")]


@both_kinds
def test_no_position_sees_its_target_or_what_follows(kind: str) -> None:
    model = stirred(attention=kind)
    text, codes = sequences(1)
    before_text, before_image = model(text, codes)
    for p in range(6):
        changed = text.clone()
        changed[0, p] = text[0, p] % 39 + 1
        after, _ = model(changed, codes)
        assert torch.equal(after[:, : p + 1], before_text[:, : p + 1])
        assert p == 5 or not torch.equal(after[:, p + 1], before_text[:, p + 1])
    for p in range(25):
        changed = codes.clone()
        changed[0, p] = (codes[0, p] + 1) % 50
        after_text, after = model(text, changed)
        assert torch.equal(after_text, before_text)
        torch.testing.assert_close(after[:, : p + 1], before_image[:, : p + 1], rtol=0, atol=1e-6)
        assert p == 24 or (after[:, p + 1] - before_image[:, p + 1]).abs().max() > 1e-3


def test_every_pad_is_its_own() -> None:
    """Pads are learned per position: captions of different length meet different rows, and pads are seen."""
    model = stirred()
    text = torch.tensor([[3, 0, 0, 0, 0, 0], [3, 4, 0, 0, 0, 0]])
    embedded = model.embed.prefix(text)[:, 1:] - model.embed.text_place
    torch.testing.assert_close(embedded[0, 1:], model.embed.text[41:46])
    torch.testing.assert_close(embedded[1, 2:], model.embed.text[42:46])
    codes = sequences(1)[1]
    _, before = model(text[:1], codes)
    with torch.no_grad():
        model.embed.text[45] += torch.linspace(-1, 1, 32)
    _, after = model(text[:1], codes)
    assert (after - before).abs().amax(2).min() > 1e-4  # the last pad is visible from every picture position


def test_places_are_rows_plus_columns() -> None:
    model = stirred()
    places = model.embed.image_places()
    torch.testing.assert_close(places[13], model.embed.row[2] + model.embed.column[3])


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("size", [7, 64])
def test_pieces_equal_fused_attention(kind: Kind, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the CPU computes piece by piece is masked attention over everything, forward and backward."""
    monkeypatch.setattr(attention, "PIECE", size)
    layer = StreamAttention(kind, 5, 9, 5)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 85, 3 * 24, dtype=torch.float64, generator=generator, requires_grad=True)
    y, expected = layer(x, 4), layer.fused(x, 4)
    torch.testing.assert_close(y, expected)
    upstream = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(torch.autograd.grad(y, x, upstream)[0], torch.autograd.grad(expected, x, upstream)[0])


def test_pieces_skip_what_is_masked() -> None:
    """At the paper's size a row layer's products touch a third of the stream, a column layer's a third."""
    for kind in ("row", "column"):
        layer = StreamAttention(kind, 257, 32, 11)
        touched = sum((p.stop - p.start) * (layer.prefix + p.high - p.low) for p in layer.plan)
        assert touched < 0.36 * 1280**2


@both_kinds
def test_autocast_keeps_logits_in_32_bits(kind: str) -> None:
    model, (text, codes) = stirred(attention=kind), sequences(2)
    exact = model(text, codes)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(text, codes)
    for one, other in zip(low, exact, strict=True):
        assert one.dtype == torch.float32
        assert 0 < (one - other).abs().max() < 0.2


@both_kinds
def test_overfits_eight_sequences(kind: str) -> None:
    model, (text, codes) = build(attention=kind, dim=48), sequences(8)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.96))
    for _ in range(60):
        text_logits, image_logits = model(text, codes)
        loss, _, image_ce = token_loss(text_logits, image_logits, text, codes)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert image_ce < 0.1


def test_it_can_be_traced_whole() -> None:
    """torch.compile sees one graph; the backend that only replays it needs no C compiler."""
    model, batch = stirred(), sequences(2)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for one, other in zip(compiled(*batch), model(*batch), strict=True):
        torch.testing.assert_close(one, other)


def test_config_survives_json() -> None:
    config = TransformerConfig(**SMALL, attention="dense", start_of_image=True)
    assert from_dict(TransformerConfig, to_dict(config)) == config


@pytest.mark.parametrize("wrong", [{"dim": 30}, {"grid": 0}, {"kernel": 4}, {"heads": 0}])
def test_impossible_configs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TransformerConfig(**(SMALL | wrong))

"""What is borrowed does what the papers say: T5 1.1 and DeBERTa written out, and how near bfloat16 stays."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.text.encoders import open_text_encoder
from pinxit.text.language_models import LanguageModel
from tests.text.tiny_models import TEXTS, opened_as


def bucket(distance: int) -> int:
    """Spec 2.1: half the 32 buckets for keys behind the query, 8 exact ones, then logarithmic up to distance 128."""
    n, base = abs(distance), 16 if distance > 0 else 0
    if n < 8:
        return base + n
    return base + min(8 + math.floor(math.log(n / 8) / math.log(128 / 8) * 8 + 1e-9), 15)


def test_t5_s_bias_comes_from_the_bucket_of_the_distance(tmp_path: Path) -> None:
    model = opened_as(tmp_path, "t5").model
    first = model.encoder.block[0].layer[0].SelfAttention
    table, bias = first.relative_attention_bias.weight, first.compute_bias(131, 131)[0]
    assert table.shape == (32, 4) and bias.shape == (4, 131, 131)
    for distance in range(-130, 131):
        query = max(0, -distance)
        assert torch.equal(bias[:, query, query + distance], table[bucket(distance)]), distance
    assert len({bucket(distance) for distance in range(-130, 131)}) == 31  # 0 counts once: bucket 16 is never used
    assert not hasattr(model.encoder.block[1].layer[0].SelfAttention, "relative_attention_bias") or (
        model.encoder.block[1].layer[0].SelfAttention.relative_attention_bias is None
    )


def test_t5_s_stack_equals_the_formulas(tmp_path: Path) -> None:
    """Spec 2.1, written out: RMSNorm, unscaled logits plus one shared bias, gated tanh-GELU, no biases."""
    encoder = opened_as(tmp_path, "t5")
    model = encoder.model.encoder
    assert not [name for name, _ in model.named_parameters() if name.endswith(".bias")]

    def rms(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    ids = torch.tensor(encoder.ids([TEXTS[2]], None))
    L = ids.shape[1]
    x = model.embed_tokens(ids)[0]
    table = model.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    bias = torch.stack([torch.stack([table[bucket(key - query)] for key in range(L)]) for query in range(L)])
    for block in model.block:
        attention, mlp = block.layer[0], block.layer[1]
        h = rms(x, attention.layer_norm.weight)
        q, k, v = (F.linear(h, getattr(attention.SelfAttention, name).weight).view(L, 4, 8) for name in "qkv")
        weights = (torch.einsum("qhd,khd->qkh", q, k) + bias).softmax(1)
        x = x + F.linear(torch.einsum("qkh,khd->qhd", weights, v).flatten(1), attention.SelfAttention.o.weight)
        h, dense = rms(x, mlp.layer_norm.weight), mlp.DenseReluDense
        gate = F.gelu(F.linear(h, dense.wi_0.weight), approximate="tanh")
        x = x + F.linear(gate * F.linear(h, dense.wi_1.weight), dense.wo.weight)
    said = encoder.encode([TEXTS[2]])
    torch.testing.assert_close(said.sequence[0, :L], rms(x, model.final_layer_norm.weight), atol=2e-5, rtol=1e-4)


def log_bucket(distance: int, mid: int = 4, most: int = 64) -> int:
    if abs(distance) <= mid:
        return distance
    log = math.ceil(math.log(abs(distance) / mid) / math.log((most - 1) / mid) * (mid - 1))
    return (log + mid) * (1 if distance > 0 else -1)


def test_deberta_s_attention_equals_three_terms(tmp_path: Path) -> None:
    """Spec 2.2: content to content, content to position, position to content, over sqrt(3 d).

    As released, the third term reads the same relative row as the second: gathered on keys and transposed.
    """
    encoder = opened_as(tmp_path, "deberta-v2")
    model, L, H, d, span = encoder.model, 19, 4, 8, 8
    layer = model.encoder.layer[0].attention.self
    assert layer.pos_ebd_size == span
    x = torch.randn(1, L, 32, generator=torch.Generator().manual_seed(0))
    relative = model.encoder.get_rel_embedding()
    said = layer(x, torch.ones(1, 1, L, L), output_attentions=True, rel_embeddings=relative)

    def heads(projection: Any, rows: Tensor) -> Tensor:
        projected: Tensor = projection(rows)
        return projected.view(-1, H, d)

    qc, kc, v = (heads(p, x[0]) for p in (layer.query_proj, layer.key_proj, layer.value_proj))
    qr, kr = heads(layer.query_proj, relative), heads(layer.key_proj, relative)  # share_att_key
    logits = torch.empty(H, L, L)
    for i in range(L):
        for j in range(L):
            row = min(max(log_bucket(i - j, span // 2) + span, 0), 2 * span - 1)
            terms = (qc[i] * kc[j]).sum(1) + (qc[i] * kr[row]).sum(1) + (kc[j] * qr[row]).sum(1)
            logits[:, i, j] = terms / math.sqrt(3 * d)
    mixed = torch.einsum("hij,jhd->ihd", logits.softmax(-1), v).flatten(1)
    torch.testing.assert_close(said[0][0], mixed, atol=2e-5, rtol=1e-4)


@pytest.mark.usefixtures("native_bf16")
@pytest.mark.parametrize(("kind", "worst"), [("t5", 0.03), ("bert", 0.03), ("deberta-v2", 0.03)])
def test_bfloat16_stays_near(tmp_path: Path, kind: str, worst: float) -> None:
    exact, low = opened_as(tmp_path, kind), open_text_encoder(tmp_path, precision="bf16")
    one, other = exact.encode(TEXTS).sequence, low.encode(TEXTS).sequence
    apart = float((one - other).norm() / one.norm())
    assert 0 < apart < worst and other.dtype == torch.float32
    assert isinstance(low, LanguageModel)
    assert low.model.dtype == (torch.bfloat16 if kind == "t5" else torch.float32)
    assert low.fingerprint == exact.fingerprint

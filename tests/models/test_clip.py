"""CLIP: its size, parity with transformers, pooling, temperature, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pinxit.config import from_dict, to_dict
from pinxit.errors import UsageError
from pinxit.functional.contrastive import contrastive_loss
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig, VisionTower
from pinxit.models.clip_shapes import PUBLISHED
from pinxit.models.layers import Block

SMALL = CLIPConfig(
    embed=24,
    vision=CLIPVisionConfig(size=32, patch=8, width=32, layers=2, heads=4),
    text=CLIPTextConfig(vocab=40, tokens=12, width=48, layers=3, heads=6, eot=3),
)


def small(seed: int = 0, config: CLIPConfig = SMALL) -> CLIP:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIP(config).eval()


def texts(rows: int, generator: torch.Generator, config: CLIPConfig = SMALL) -> Tensor:
    """`SOT words EOT 0 0 ...` of different lengths."""
    ids = torch.randint(4, config.text.vocab, (rows, config.text.tokens), generator=generator)
    ids[:, 0] = 2
    for row in range(rows):
        end = 2 + row % (config.text.tokens - 2)
        ids[row, end], ids[row, end + 1 :] = config.text.eot, 0
    return ids


PARAMETERS = {
    "RN50": 102_007_137,
    "RN101": 119_688_033,
    "RN50x4": 178_300_601,
    "RN50x16": 290_979_217,
    "RN50x64": 623_258_305,
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14@336": 427_944_193,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        model = CLIP(PUBLISHED[name])
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    side, features = PUBLISHED[name].vision.size, PUBLISHED[name].vision.features
    assert model.visual.features(torch.empty(1, 3, side, side, device="meta")).shape == (1, features)


def test_configs_round_trip() -> None:
    assert PUBLISHED["ViT-B/32"] == CLIPConfig()
    assert from_dict(CLIPConfig, to_dict(PUBLISHED["RN50"])) == PUBLISHED["RN50"]
    assert from_dict(CLIPConfig, to_dict(CLIPConfig())) == CLIPConfig()


def test_initial_scales_are_the_papers() -> None:
    config = CLIPConfig(
        embed=256,
        vision=CLIPVisionConfig(size=32, patch=8, width=256, layers=8, heads=4),
        text=CLIPTextConfig(vocab=1000, tokens=64, width=256, layers=2, heads=4, eot=3),
    )
    model = small(config=config)
    assert isinstance(model.visual, VisionTower)
    block = model.visual.blocks[3]
    assert isinstance(block, Block)
    expected = {
        model.visual.class_token: 256**-0.5,
        model.visual.positions: 256**-0.5,
        model.visual.proj: 256**-0.5,
        model.text.tokens.weight: 0.02,
        model.text.positions: 0.01,
        model.text.proj: 256**-0.5,
        block.attn.qkv.weight: 256**-0.5,
        block.attn.out.weight: 256**-0.5 * 16**-0.5,
        block.fc.weight: 512**-0.5,
        block.proj.weight: 256**-0.5 * 16**-0.5,
    }
    for weight, std in expected.items():
        assert weight.std().item() == pytest.approx(std, rel=0.15)
    assert model.scale().item() == pytest.approx(1 / 0.07)


def test_pooling_ignores_everything_after_the_first_eot() -> None:
    model, generator = small(), torch.Generator().manual_seed(3)
    ids = texts(4, generator)
    other = ids.clone()
    for row in other:
        end = (row == 3).nonzero()[0, 0]
        row[end + 1 :] = torch.tensor([39, 3] * 6)[: len(row) - end - 1]  # junk, and a second EOT
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(ids), model.encode_text(other))
        torch.testing.assert_close(model.encode_text(ids[:, :8]), model.encode_text(ids)[:, :])
        changed = ids.clone()
        changed[:, 1] = 5
        assert (model.encode_text(ids) - model.encode_text(changed)).abs().max() > 1e-3


def test_embeddings_have_length_one_and_hold_in_bfloat16() -> None:
    model, generator = small(), torch.Generator().manual_seed(4)
    pictures, ids = torch.rand(3, 3, 32, 32, generator=generator), texts(3, generator)
    with torch.no_grad():
        image, text, _ = model(pictures, ids)
        torch.testing.assert_close(image.norm(dim=1), torch.ones(3))
        torch.testing.assert_close(text.norm(dim=1), torch.ones(3))
        half = model.bfloat16()
        assert half.encode_image(pictures.bfloat16()).dtype == torch.bfloat16
        torch.testing.assert_close(half.encode_image(pictures.bfloat16()).float(), image, atol=0.03, rtol=0)
        torch.testing.assert_close(half.encode_text(ids).float(), text, atol=0.03, rtol=0)


def test_temperature_is_clamped_at_a_hundred() -> None:
    model = small()
    model.clamp_()
    assert model.scale().item() == pytest.approx(1 / 0.07)
    model.logit_scale.data.fill_(7.0)
    model.clamp_()
    assert model.logit_scale.item() == pytest.approx(math.log(100), abs=1e-6)


def test_overfits_eight_pairs() -> None:
    model, generator = small().train(), torch.Generator().manual_seed(5)
    pictures, ids = torch.rand(8, 3, 32, 32, generator=generator), texts(8, generator)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        contrastive_loss(*model(pictures, ids)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        model.clamp_()
    with torch.no_grad():
        image, text, _ = model(pictures, ids)
        assert contrastive_loss(image, text, model.scale()).item() < 0.05
        assert (image @ text.T).argmax(1).tolist() == list(range(8))


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="patch 32"):
        CLIPConfig(vision=CLIPVisionConfig(size=100))
    with pytest.raises(UsageError, match="7 heads"):
        CLIPConfig(text=CLIPTextConfig(heads=7))
    with pytest.raises(UsageError, match=r"text\.eot 40 must be less than clip\.text\.vocab, 40"):
        CLIPConfig(text=CLIPTextConfig(vocab=40, eot=40))

"""CLIP: its size, parity with transformers, pooling, temperature, and that it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pinxit.config import from_dict, to_dict
from pinxit.errors import UsageError
from pinxit.functional.contrastive import contrastive_loss
from pinxit.models.clip import CLIP, CLIPConfig, TextConfig, VisionConfig
from pinxit.models.layers import Block

SMALL = CLIPConfig(
    embed=24,
    vision=VisionConfig(size=32, patch=8, width=32, layers=2, heads=4),
    text=TextConfig(vocab=40, tokens=12, width=48, layers=3, heads=6, eot=3),
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


def test_vit_b_32_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = CLIP(CLIPConfig())
    assert sum(p.numel() for p in model.parameters()) == 151_277_313
    assert from_dict(CLIPConfig, to_dict(CLIPConfig())) == CLIPConfig()


def test_initial_scales_are_the_papers() -> None:
    config = CLIPConfig(
        embed=256,
        vision=VisionConfig(size=32, patch=8, width=256, layers=8, heads=4),
        text=TextConfig(vocab=1000, tokens=64, width=256, layers=2, heads=4, eot=3),
    )
    model = small(config=config)
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


@pytest.mark.parametrize("activation", ["quickgelu", "gelu"])
def test_equals_transformers_clip(activation: str) -> None:
    transformers = pytest.importorskip("transformers")
    text = {"vocab_size": 40, "max_position_embeddings": 12, "num_hidden_layers": 3, "num_attention_heads": 6}
    vision = {"image_size": 32, "patch_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4}
    act = {"quickgelu": "quick_gelu", "gelu": "gelu"}[activation]
    both = transformers.CLIPConfig(
        text_config=text | {"hidden_size": 48, "intermediate_size": 192, "hidden_act": act, "eos_token_id": 3},
        vision_config=vision | {"hidden_size": 32, "intermediate_size": 128, "hidden_act": act},
        projection_dim=24,
    )
    config = CLIPConfig(SMALL.embed, SMALL.vision, SMALL.text, activation)  # type: ignore[arg-type]
    ours, theirs = small(1, config), transformers.CLIPModel(both).eval()
    missing = theirs.load_state_dict(in_transformers_names(ours), strict=False)
    assert missing.unexpected_keys == [] and [k for k in missing.missing_keys if "position_ids" not in k] == []
    generator = torch.Generator().manual_seed(2)
    pictures, ids = torch.rand(5, 3, 32, 32, generator=generator), texts(5, generator)
    with torch.no_grad():
        image, text_embedding, scale = ours(pictures, ids)
        answer = theirs(input_ids=ids, pixel_values=(pictures - ours.mean) / ours.std)
    torch.testing.assert_close(image, answer.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(text_embedding, answer.text_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(scale * image @ text_embedding.T, answer.logits_per_image, atol=1e-4, rtol=0)


def in_transformers_names(model: CLIP) -> dict[str, Tensor]:
    """Our weights under transformers' names; every key of theirs must be among them."""
    state: dict[str, Tensor] = {
        "logit_scale": model.logit_scale.detach(),
        "visual_projection.weight": model.visual.proj.detach().T,
        "text_projection.weight": model.text.proj.detach().T,
    }
    for theirs, tower in (("vision_model", model.visual), ("text_model", model.text)):
        for name, value in tower.state_dict().items():
            state |= {theirs + "." + n: v for n, v in renamed(name, value).items()}
    return state


def renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    table = {
        "positions": "embeddings.position_embedding.weight",
        "class_token": "embeddings.class_embedding",
        "patches.weight": "embeddings.patch_embedding.weight",
        "tokens.weight": "embeddings.token_embedding.weight",
        "ln_pre": "pre_layrnorm",
        "ln_post": "post_layernorm",
        "ln_final": "final_layer_norm",
        ".ln_1": ".layer_norm1",
        ".ln_2": ".layer_norm2",
        ".fc.": ".mlp.fc1.",
        ".proj.": ".mlp.fc2.",
        ".attn.": ".self_attn.",
        ".out.": ".out_proj.",
        "blocks.": "encoder.layers.",
    }
    if name == "proj":
        return {}
    for ours, theirs in table.items():
        name = name.replace(ours, theirs)
    if "qkv" not in name:
        return {name: value}
    return {name.replace("qkv", f"{part}_proj"): v for part, v in zip("qkv", value.chunk(3), strict=True)}


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
        CLIPConfig(vision=VisionConfig(size=100))
    with pytest.raises(UsageError, match="7 heads"):
        CLIPConfig(text=TextConfig(heads=7))

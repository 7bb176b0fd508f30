"""Tiny random weights as other libraries save them, which runs start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.recipes.karlos import tokens
from tests.text.tiny_models import save_random, save_tiny, transformers
from tests.weights.test_deepfloyd import STAGE_1, STAGE_2, diffusers, peer

COSINE = {"beta_schedule": "squaredcos_cap_v2"}
STEPS = COSINE | {"variance_type": "learned_range", "thresholding": True, "dynamic_thresholding_ratio": 0.95}
WIDTHS = {"encoder_hid_dim": 32, "block_out_channels": (32, 64)}
BASE = STAGE_1 | WIDTHS | {"layers_per_block": 1}
BASE |= {"down_block_types": STAGE_1["down_block_types"][:2], "up_block_types": STAGE_1["up_block_types"][1:]}
LARGE = STAGE_2 | WIDTHS | {"layers_per_block": (1, 1), "sample_size": 64}
LARGE |= {"down_block_types": STAGE_2["down_block_types"][1:], "up_block_types": STAGE_2["up_block_types"][:2]}


def save_clip(folder: Path, size: int = 32) -> Any:
    """A CLIPModel of transformers over CLIP's own kind of tokens, and its tokenizer and processor."""
    tower: dict[str, Any] = {"hidden_act": "quick_gelu", "projection_dim": 24, "num_hidden_layers": 2}
    ends = {"vocab_size": 516, "bos_token_id": 514, "eos_token_id": 515, "pad_token_id": 0}
    text = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2, "max_position_embeddings": 24}
    sight = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 2, "image_size": size, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config=tower | text | ends, vision_config=tower | sight, projection_dim=24, logit_scale_init_value=2.0
    )
    model = save_random(folder, transformers.CLIPModel, config)
    sizes = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    transformers.CLIPImageProcessor(resample=2, **sizes).save_pretrained(folder)
    tokens(folder)
    return model


def save_stage_1(folder: Path) -> Any:
    """DeepFloyd IF's stage I with a T5 of its own."""
    net = _stage(folder, BASE, 0)
    save_tiny(folder / "text_encoder", "t5")
    transformers.AutoTokenizer.from_pretrained(folder / "text_encoder").save_pretrained(folder / "tokenizer")
    return net


def save_stage_2(folder: Path) -> Any:
    """DeepFloyd IF's stage II; it enlarges what stage I draws four times."""
    diffusers.DDPMScheduler(**COSINE).save_pretrained(folder / "image_noising_scheduler")
    return _stage(folder, LARGE, 1)


def _stage(folder: Path, config: dict[str, Any], seed: int) -> Any:
    net = peer(config, seed)
    net.save_pretrained(folder / "unet")
    most = {"sample_max_value": 1.5 if config["in_channels"] == 3 else 1.0}
    diffusers.DDPMScheduler(**STEPS | most).save_pretrained(folder / "scheduler")
    return net

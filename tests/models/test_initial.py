"""How large every weight of every kind of network is before anything is learned changes on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pinxit.models.clip import CLIP
from pinxit.models.detector import Detector
from pinxit.models.dvae import DVAE
from pinxit.models.prior import PriorConfig, build_prior
from pinxit.models.resnet import ResNet, ResNetConfig
from pinxit.models.text import TextTransformer, TextTransformerConfig
from pinxit.models.transformer import TokenTransformer
from pinxit.models.unet import UNet
from pinxit.models.unet_config import UNetConfig
from pinxit.recipes.clip.presets import preset as clip_preset
from pinxit.recipes.dalle.presets import preset as dalle_preset
from pinxit.recipes.judge.judge import config_for
from pinxit.training.draws import seeded
from tests.golden import golden

LIST = Path(__file__).parent / "golden" / "initial.json"
FEW = 64  # numbers of which no spread is told
DALLE, CLIP_RESNET = dalle_preset("nano"), clip_preset("labels").clip
VISION = replace(CLIP_RESNET.vision, stages=(1, 1), mixing=1, mixing_width=64)
TOLD = UNetConfig(
    channels=(32, 64), blocks=(1, 1), attention=(False, True), head=16, text=24, context=16, refiner_layers=1,
    pool_heads=2, pooled=12, image=10, image_tokens=2, low_res=3, masked=4, augmentation=True, context_norm=True,
)  # fmt: skip
PRIOR = PriorConfig(components=8, embed=16, text=12, length=4, width=64, layers=2, heads=2)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "dvae": lambda: DVAE(DALLE.dvae),
    "transformer": lambda: TokenTransformer(DALLE.transformer, seed=1),
    "clip": lambda: CLIP(DALLE.clip),
    "clip of a ResNet": lambda: CLIP(replace(CLIP_RESNET, vision=VISION)),
    "unet": lambda: UNet(TOLD),
    "efficient unet": lambda: UNet(replace(TOLD, efficient=True, bypass=True, patch=2)),
    "prior": lambda: build_prior(PRIOR),
    "prior of tokens": lambda: build_prior(replace(PRIOR, buckets=16, dots=4)),
    "text": lambda: TextTransformer(TextTransformerConfig(vocab=64, tokens=8, width=32, layers=1, heads=2)),
    "resnet": lambda: ResNet(ResNetConfig(10, width=16)),
    "detector": lambda: Detector(replace(config_for("small").detector, widths=(16, 24, 32), neck=16)),
}


def spreads(name: str) -> dict[str, float | str]:
    """Of each parameter its standard deviation, or the one value that it has as text; nothing of small draws."""
    found: dict[str, float | str] = {}
    for key, value in seeded(MODELS[name], 0, "initial").named_parameters():
        flat = value.detach().double().flatten()
        if (flat == flat[0]).all():
            found[key] = f"{float(flat[0]):.4g}"
        elif len(flat) >= FEW:
            found[key] = float(f"{flat.std():.3g}")
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_begins_as_large_as_listed(name: str) -> None:
    before = torch.random.get_rng_state()
    expected, found = golden(LIST, lambda: {one: spreads(one) for one in MODELS})[name], spreads(name)
    assert found.keys() == expected.keys()
    near = {key: one if isinstance(one, str) else pytest.approx(one, rel=0.1) for key, one in expected.items()}
    assert {key: (one, expected[key]) for key, one in found.items() if one != near[key]} == {}
    assert torch.equal(torch.random.get_rng_state(), before)

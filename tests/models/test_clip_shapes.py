"""The published CLIPs have the shapes that their weights have."""

from __future__ import annotations

import pytest
import torch

from pinxit.models.clip import CLIP
from pinxit.models.clip_shapes import PUBLISHED

MILLIONS = {  # of parameters, as open_clip's table of models has them
    "RN50": 102.01,
    "RN101": 119.69,
    "RN50x4": 178.30,
    "RN50x16": 290.98,
    "RN50x64": 623.26,
    "ViT-B/32": 151.28,
    "ViT-B/16": 149.62,
    "ViT-L/14": 427.62,
    "ViT-L/14@336": 427.94,
}


def test_every_published_shape_is_tested() -> None:
    assert MILLIONS.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_heads(name: str) -> None:
    """Heads, which no count shows, are 64 wide in OpenAI's code."""
    config = PUBLISHED[name]
    with torch.device("meta"):
        model = CLIP(config)
    assert round(sum(one.numel() for one in model.parameters()) / 1e6, 2) == MILLIONS[name]
    assert config.text.heads * 64 == config.text.width
    assert config.vision.stages or config.vision.heads * 64 == config.vision.width

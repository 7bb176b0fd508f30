"""CLIP's ModifiedResNet: the published network, where open_clip is at hand to compare with, and its own rules."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from pinxit.errors import UsageError
from pinxit.models.clip import CLIPConfig, VisionConfig
from pinxit.models.clip_resnet import Bottleneck, ResNetTower


def tower(seed: int = 0) -> ResNetTower:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = ResNetTower(size=64, width=16, stages=(1, 2, 1, 2), embed=20)
        for name, tensor in made.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand_like(tensor) if "var" in name else 0.1 * torch.randn_like(tensor))
    return made.eval().requires_grad_(False)


def pictures(size: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))


def open_clips_resnet(monkeypatch: pytest.MonkeyPatch) -> Any:
    """open_clip's module of this network alone: the whole package wants torchvision, which this network does not."""
    found = importlib.util.find_spec("open_clip")
    if found is None:
        pytest.skip("open_clip is not installed")
    package = ModuleType("open_clip")
    package.__path__ = list(found.submodule_search_locations or ())
    monkeypatch.setitem(sys.modules, "open_clip", package)
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.misc"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.delitem(sys.modules, "open_clip.modified_resnet", raising=False)
    return importlib.import_module("open_clip.modified_resnet")


def test_equals_open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = open_clips_resnet(monkeypatch).ModifiedResNet([1, 2, 1, 2], 20, heads=8, image_size=64, width=16).eval()
    ours = tower()
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures()), theirs(pictures()), atol=1e-5, rtol=1e-5)


def test_a_block_begins_as_its_shortcut() -> None:
    block = Bottleneck(32, 8, 1).eval()
    x = torch.rand(1, 32, 6, 6)
    torch.testing.assert_close(block(x), x)
    assert Bottleneck(16, 8, 2)(torch.rand(2, 16, 6, 6)).shape == (2, 32, 3, 3)


def test_strides_are_pools() -> None:
    """No convolution but the stem's first skips pixels."""
    strides = [name for name, m in tower().named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strides == ["conv1"]


def test_the_mean_asks_and_every_place_answers() -> None:
    """Without learned places the attention does not care where on the map something is."""
    pool = tower().attnpool
    x = torch.randn(2, 512, 2, 2, generator=torch.Generator().manual_seed(4))
    pool.positional_embedding.zero_()
    torch.testing.assert_close(pool(x), pool(x.flip(2, 3)), atol=1e-5, rtol=1e-5)
    assert pool.heads == 8 and tower()(pictures()).shape == (2, 20) and tower().features(pictures()).shape == (2, 512)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of patch 32"):
        CLIPConfig(vision=VisionConfig(size=100, width=16, stages=(1, 1, 1, 1)))

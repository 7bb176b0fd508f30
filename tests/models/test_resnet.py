from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pinxit.models.resnet import ResNet, ResNetConfig

PARTS = {"conv1": "layer.0.convolution", "bn1": "layer.0.normalization", "conv2": "layer.1.convolution"}
PARTS |= {"bn2": "layer.1.normalization", "downsample.0": "shortcut.convolution"}
PARTS |= {"downsample.1": "shortcut.normalization"}


def test_resnet18_has_the_published_parameters() -> None:
    with torch.device("meta"):
        model = ResNet(ResNetConfig(1000))
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512


def theirs(name: str, blocks: int) -> str:
    """The name in transformers' layout."""
    if name.startswith("fc."):
        return f"classifier.1.{name[3:]}"
    if not name.startswith("stages."):
        kind = "convolution" if name.startswith("conv1") else "normalization"
        return f"resnet.embedder.embedder.{kind}.{name.split('.')[1]}"
    _, number, rest = name.split(".", 2)
    part = next(part for part in PARTS if rest.startswith(part))
    stage, block = divmod(int(number), blocks)
    return f"resnet.encoder.stages.{stage}.layers.{block}.{PARTS[part]}{rest.removeprefix(part)}"


@pytest.mark.parametrize("size", [32, 45])
def test_outputs_equal_transformers(size: int) -> None:
    transformers = pytest.importorskip("transformers")
    shape = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 32], depths=[2, 2, 2], layer_type="basic", num_labels=5
    )
    torch.manual_seed(0)
    peer = transformers.ResNetForImageClassification(shape).eval()
    for name, buffer in peer.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    weights: dict[str, Tensor] = dict(peer.state_dict())
    model = ResNet(ResNetConfig(5, size, 8, (2, 2, 2))).eval()
    model.load_state_dict({name: weights[theirs(name, 2)] for name in model.state_dict()})
    x = torch.rand(3, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(2 * x - 1).logits, atol=1e-5, rtol=1e-5)

"""Weights in a byte each: what is lost, what is not touched, and that a checkpoint gives them back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pinxit.errors import CheckpointError
from pinxit.weights.checkpoint import Part, open_checkpoint, save_checkpoint
from pinxit.weights.int8 import SCALES, packed, unpacked


@dataclass(frozen=True)
class Nothing:
    """A config without fields."""


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(16, 64, 3), nn.Linear(64, 128), nn.Linear(8, 8), nn.BatchNorm1d(128))


def test_a_weight_is_off_by_half_a_step_of_its_row_at_most() -> None:
    weight = torch.randn(64, 96) * torch.logspace(-3, 3, 64)[:, None]
    found = unpacked(packed({"w": weight}))["w"]
    assert ((found - weight).abs() <= weight.abs().amax(1, keepdim=True) / 254 * 1.001).all()
    assert (found - weight).norm() / weight.norm() < 0.01


def test_the_largest_of_a_row_and_zeros_come_back_exactly() -> None:
    weight = torch.randn(64, 96)
    weight[3] = 0
    found = unpacked(packed({"w": weight}))["w"]
    place = weight.abs().argmax(1, keepdim=True)
    assert torch.allclose(found.gather(1, place), weight.gather(1, place), rtol=1e-6)
    assert not found[3].any()


def test_vectors_small_tensors_and_whole_numbers_keep_their_kind() -> None:
    state = {"gain": torch.randn(5000), "small": torch.randn(8, 8), "count": torch.arange(5000).view(50, 100)}
    found = packed(state)
    assert found.keys() == state.keys()
    assert found["gain"].dtype == found["small"].dtype == torch.bfloat16
    assert torch.equal(found["count"], state["count"])


def test_a_checkpoint_gives_back_what_was_stored_in_half_the_space(tmp_path: Path) -> None:
    model, other = net(), net()
    part = Part(Nothing(), model.state_dict())
    save_checkpoint(tmp_path / "a", "dalle", {"net": part}, store="bf16")
    save_checkpoint(tmp_path / "b", "dalle", {"net": part}, store="int8")
    small, large = (sum(one["bytes"] for one in open_checkpoint(tmp_path / name).files.values()) for name in "ba")
    assert small < 0.65 * large
    opened = open_checkpoint(tmp_path / "b")
    opened.load_into("net", other)
    assert opened.state("net").keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.allclose(other.state_dict()[name].float(), tensor.float(), atol=0.02)
    assert load_file(tmp_path / "b" / "net.safetensors")["0.weight"].dtype == torch.int8


def test_scales_of_nothing_are_refused() -> None:
    stored = packed({"w": torch.randn(64, 96)})
    for wrong in ({SCALES + "v": torch.ones(64)}, {SCALES + "w": torch.ones(3)}):
        with pytest.raises(CheckpointError, match="fit no stored tensor"):
            unpacked(stored | wrong)

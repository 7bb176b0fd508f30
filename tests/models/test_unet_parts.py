"""What the U-Nets are put together from: how parts begin, how skips join, what dropout spares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pinxit.models.efficient_unet import EfficientBody
from pinxit.models.unet import UNet
from pinxit.models.unet_blocks import Attention, AttentionContext, Norm, ResBlock
from pinxit.models.unet_config import UNetConfig, groups_of
from pinxit.models.unet_shapes import PUBLISHED
from tests.models.test_unet import EFFICIENT, IF, TINY

X = torch.randn(2, 32, 8, 8, generator=torch.Generator().manual_seed(0))
EMBED = torch.randn(2, 128, generator=torch.Generator().manual_seed(1))


def noised(block: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return block


@torch.no_grad()
def test_residual_branches_begin_silent() -> None:
    torch.testing.assert_close(ResBlock(32, 32, TINY)(X, EMBED), X)
    wider = ResBlock(32, 64, TINY)
    torch.testing.assert_close(wider(X, EMBED), wider.shortcut(X))
    text = AttentionContext(torch.randn(2, 5, 24), None)
    torch.testing.assert_close(Attention(32, 32, 2, TINY)(X, text), X)


@torch.no_grad()
@pytest.mark.parametrize("level", [0.0, 1e3])
def test_group_statistics_keep_their_digits_far_from_zero(level: float) -> None:
    """Of groups of five channels, whose statistics on the CPU are of our own making."""
    norm = Norm(40, replace(TINY, groups=8))
    channels = torch.linspace(-1, 1, 40)[:, None, None]
    x = level + channels + torch.randn(2, 40, 8, 8, generator=torch.Generator().manual_seed(3))
    assert norm.num_channels // norm.num_groups == 5
    expected = nn.functional.group_norm(x.double(), 8, eps=norm.eps)
    torch.testing.assert_close(norm(x).double(), expected, atol=1e-6 + 2e-7 * level, rtol=0)


@torch.no_grad()
def test_dropout_is_for_training_alone() -> None:
    block, plain = (noised(ResBlock(32, 32, replace(TINY, dropout=rate))) for rate in (0.5, 0.0))
    plain.load_state_dict(block.state_dict())
    assert not torch.equal(block(X, EMBED), plain(X, EMBED))
    assert torch.equal(block.eval()(X, EMBED), plain.eval()(X, EMBED))


@torch.no_grad()
def test_an_efficient_body_scales_its_skips_and_its_sum() -> None:
    """By 1/sqrt(2) each (Imagen, appendix B.1): what is joined keeps its variance."""
    body: Any = EfficientBody(EFFICIENT)
    seen: dict[Any, Tensor] = {}
    for place, level in enumerate(body.down):
        level.register_forward_hook(lambda _m, _i, out, place=place: seen.update({("down", place): out}))
    first = body.up[-1].blocks[0]
    first.register_forward_pre_hook(lambda _m, given: seen.update(joined=given[0]))
    body.up[-1].register_forward_hook(lambda _m, _i, out: seen.update(last=out))
    body.up[-1].step.register_forward_hook(lambda _m, _i, out: out + 1.0)
    out = body(X, EMBED, AttentionContext(torch.randn(2, 5, 24), None))
    width = EFFICIENT.channels[0]
    torch.testing.assert_close(seen["joined"][:, width:], seen["down", 0] / 2**0.5)
    torch.testing.assert_close(out, (seen["last"] + X) / 2**0.5)


@pytest.mark.parametrize(
    ("channels", "groups", "expected"), [(1024, 0, 32), (192, 0, 12), (48, 0, 3), (20, 0, 1), (64, 8, 8), (592, 0, 1)]
)
def test_groups_are_at_most_32_and_of_whole_sixteens(channels: int, groups: int, expected: int) -> None:
    assert groups_of(channels, groups) == expected


@pytest.mark.parametrize("config", [IF, EFFICIENT, PUBLISHED["IF-I-XL"]], ids=["if", "efficient", "IF-I-XL"])
def test_layer_norms_add_what_published_weights_were_trained_with(config: UNetConfig) -> None:
    with torch.device("meta"):
        net = UNet(config)
    norms = [module for module in net.modules() if isinstance(module, nn.LayerNorm)]
    assert norms and {norm.eps for norm in norms} == {1e-5}

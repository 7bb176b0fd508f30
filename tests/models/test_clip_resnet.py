"""CLIP's ModifiedResNet and its own rules; tests/weights/test_public_clip.py compares it with open_clip's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.models.clip import CLIP, CLIPConfig, CLIPVisionConfig
from pinxit.models.clip_resnet import Bottleneck, Mixer, ResNetTower
from tests.weights.answers import EMBED, TOWERS, stored


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


def test_a_mixer_begins_as_nothing_and_tells_who_stands_where() -> None:
    """Two things that exchange their places: sums over places cannot tell, blocks before them can."""
    torch.manual_seed(0)
    mixer = Mixer(grid=2, width=32, inner=64, layers=1, activation="gelu").requires_grad_(False)
    x = torch.randn(1, 32, 2, 2)
    torch.testing.assert_close(mixer(x), x)
    nn.init.normal_(mixer.leave.weight)
    assert (mixer(x).sum((2, 3)) - mixer(x.flip(3)).sum((2, 3))).abs().max() > 0.1
    mixed = CLIPConfig(20, CLIPVisionConfig(size=64, width=16, stages=(1, 1, 1, 1), mixing=1, mixing_width=64))
    plain = CLIP(replace(mixed, vision=replace(mixed.vision, mixing=0))).eval()
    clip = CLIP(mixed).eval()
    missing, unexpected = clip.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("visual.mixer.") for name in missing)
    torch.testing.assert_close(clip.encode_image(pictures()), plain.encode_image(pictures()))
    assert missing
    nn.init.normal_(clip.state_dict()["visual.mixer.leave.weight"])
    assert (clip.encode_image(pictures()) - plain.encode_image(pictures())).abs().max() > 1e-3


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of patch 32"):
        CLIPConfig(vision=CLIPVisionConfig(size=100, width=16, stages=(1, 1, 1, 1)))
    with pytest.raises(UsageError, match="belongs to a ResNet"):
        CLIPConfig(vision=CLIPVisionConfig(mixing=1))
    for width, stages, features in ((7, (1,) * 4, 224), (4, (1, 1), 32), (1, (1,) * 6, 128)):
        with pytest.raises(UsageError, match=f"width {width} gives a ResNet {features} features: take a width"):
            CLIPConfig(vision=CLIPVisionConfig(size=256, width=width, stages=stages))
    with pytest.raises(UsageError, match="multiple of 64"):
        CLIPConfig(vision=CLIPVisionConfig(size=64, width=16, stages=(1, 1, 1, 1), mixing=1, mixing_width=100))


def test_a_block_is_cut_off_below_zero_after_the_sum() -> None:
    block = Bottleneck(32, 8, 1).eval()
    nn.init.constant_(block.bn3.bias, -2.0)
    torch.testing.assert_close(block(torch.ones(1, 32, 6, 6)), torch.zeros(1, 32, 6, 6))


def test_the_stem_ends_in_means_of_four() -> None:
    net = tower()
    seen: dict[str, Tensor] = {}
    net.bn3.register_forward_hook(lambda _m, _i, out: seen.update(stem=out))
    net.layer1.register_forward_pre_hook(lambda _m, given: seen.update(given=given[0]))  # type: ignore[union-attr]
    net(pictures())
    torch.testing.assert_close(seen["given"], F.avg_pool2d(F.relu(seen["stem"]), 2))


def test_the_pool_is_openais() -> None:
    """As OpenAI computes it: PyTorch's attention of many heads, asked by the mean alone."""
    pool = tower().attnpool
    x = torch.randn(2, 512, 2, 2, generator=torch.Generator().manual_seed(4))
    all_NBD = x.flatten(2).permute(2, 0, 1)
    all_NBD = torch.cat([all_NBD.mean(0, keepdim=True), all_NBD]) + pool.positional_embedding[:, None]
    layers = (pool.q_proj, pool.k_proj, pool.v_proj)
    expected, _ = F.multi_head_attention_forward(
        all_NBD[:1], all_NBD, all_NBD, 512, pool.heads, None, torch.cat([one.bias for one in layers]), None, None,
        False, 0.0, pool.c_proj.weight, pool.c_proj.bias, False, None, False, use_separate_proj_weight=True,
        q_proj_weight=layers[0].weight, k_proj_weight=layers[1].weight, v_proj_weight=layers[2].weight,
    )  # fmt: skip
    torch.testing.assert_close(pool(x), expected[0], atol=1e-5, rtol=1e-5)


def test_weights_are_those_of_open_clip_and_no_more() -> None:
    """Convolutions before a norm have no bias, as published files have none."""
    vision, _ = TOWERS["resnet"]
    net = ResNetTower(vision["image_size"], vision["width"], tuple(vision["layers"]), EMBED)
    shapes = stored("open_clip")["resnet gelu"]["shapes"]
    wanted = {name.removeprefix("visual."): shape for name, shape in shapes.items() if name.startswith("visual.")}
    assert {name: list(tensor.shape) for name, tensor in net.state_dict().items()} == wanted

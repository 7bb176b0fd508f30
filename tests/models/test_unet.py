"""The U-Net family: sizes, what may and may not influence the answer, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from scripts.forget_text import OF_TEXT
from torch import Tensor, nn

from pinxit.config import from_dict, to_dict
from pinxit.errors import UsageError
from pinxit.models.unet import UNet, UNetConfig
from pinxit.models.unet_blocks import Norm, ResBlock, activate
from pinxit.models.unet_conditioning import sinusoids
from pinxit.models.unet_config import UNetActivation
from pinxit.models.unet_shapes import PUBLISHED

TINY = UNetConfig(channels=(32, 64), blocks=(1, 1), attention=(False, True), head=16, text=24, pool_heads=2, groups=8)
PATCHED = replace(TINY, patch=4, context=16, low_res=3, augmentation=True, residual_scale=0.7071)
IF = replace(TINY, text_norm="group", attend_padding=True, activation="gelu", activate_once=True, outputs=6)
EFFICIENT = replace(TINY, efficient=True, low_res=3, augmentation=True, blocks=(1, 2))
CROSS = replace(EFFICIENT, self_attention=False)
BARE = replace(TINY, text=0, attention=(False, False), middle=False)
ROUND = replace(PATCHED, bypass=True)
REFINED = replace(TINY, context=32, refiner_layers=2)
IMAGE = replace(TINY, image=20, image_tokens=3)
READ = replace(IMAGE, image_hidden=24)
SEEN = replace(TINY, text=0, context=24, image=20, self_attention=False)
MASKED = replace(PATCHED, masked=4)
KARLO = replace(IMAGE, context=32, context_norm=True, text_norm="none", pool_heads=0, pooled=12, outputs=6)
ADDED = replace(BARE, low_res=3, scale_shift=False)
ALL = {"tiny": TINY, "patched": PATCHED, "round": ROUND, "if": IF, "efficient": EFFICIENT, "cross": CROSS, "bare": BARE}
ENLARGED = replace(BARE, low_res=3, masked=4)
ALL |= {"refined": REFINED, "image": IMAGE, "read": READ, "seen": SEEN, "masked": MASKED, "enlarged": ENLARGED}
ALL |= {"karlo": KARLO, "added": ADDED}


def small(config: UNetConfig, seed: int = 0, noise: float = 0.1) -> UNet:
    """A network whose zero-initialised layers are `noise` instead, so that everything has a say."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = UNet(config).eval()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(noise * torch.randn_like(parameter))
    return net


def given(config: UNetConfig, side: int = 16, rows: int = 2, length: int = 5) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    told: dict[str, Any] = {
        "x": torch.randn(rows, 3, side, side, generator=generator),
        "time": torch.linspace(10.0, 900.0, rows),
    }
    if config.text:
        told["sequence"] = torch.randn(rows, length, config.text, generator=generator)
        told["mask"] = torch.arange(length)[None] < torch.arange(2, 2 + rows)[:, None]
    if config.low_res:
        told["low_res"] = torch.randn(rows, 3, side, side, generator=generator)
    if config.masked:
        told["masked"] = torch.randn(rows, config.masked, side, side, generator=generator)
    if config.pooled:
        told["pooled"] = torch.randn(rows, config.pooled, generator=generator)
    if config.image:
        told["image"] = torch.randn(rows, config.image, generator=generator)
    if config.augmentation:
        told["augmentation"] = torch.linspace(100.0, 300.0, rows)
    return told


def call(net: Callable[..., Any], x: Tensor, time: Tensor, **conditions: Tensor | None) -> Any:
    """What a network says of x, the conditions that are None left out."""
    return net(x, time, {name: tensor for name, tensor in conditions.items() if tensor is not None})


PARAMETERS = {
    "imagen-base-64": 2_305_382_403,
    "imagen-super-256": 588_913_283,
    "imagen-super-1024": 580_516_483,
    "IF-I-XL": 4_304_695_110,
    "IF-II-L": 1_243_277_190,
    "karlo-decoder": 893_317_318,
    "karlo-super-256": 691_579_523,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    """On the meta device; the docstrings of the shapes say how these lie to the printed figures."""
    with torch.device("meta"):
        net = UNet(PUBLISHED[name])
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name]
    assert from_dict(UNetConfig, to_dict(PUBLISHED[name])) == PUBLISHED[name]


@pytest.mark.parametrize("name", ALL)
def test_begins_as_zero_and_gradients_reach_every_parameter(name: str) -> None:
    config = ALL[name]
    told = given(config)
    fresh = call(UNet(config), **told)
    assert fresh.shape == (2, config.outputs, 16, 16) and not fresh.any()
    net = small(config)
    call(net, **told).square().sum().backward()
    for path, parameter in net.named_parameters():
        if not path.endswith(".key.bias"):  # added to all keys alike, it leaves the softmax as it was
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, path


@pytest.mark.parametrize("name", ["tiny", "patched", "efficient", "cross", "refined", "image", "karlo"])
def test_padding_has_no_influence(name: str) -> None:
    """What masked positions hold, and how many there are; and nothing written there survives a NaN."""
    net, told = small(ALL[name]), given(ALL[name])
    expected = call(net, **told)
    other = told | {"sequence": torch.where(told["mask"][:, :, None], told["sequence"], 99.0)}
    torch.testing.assert_close(call(net, **other), expected, atol=1e-5, rtol=1e-5)
    longer = {
        "sequence": torch.cat([told["sequence"], torch.ones(2, 4, 24)], 1),
        "mask": torch.cat([told["mask"], torch.zeros(2, 4, dtype=torch.bool)], 1),
    }
    torch.testing.assert_close(call(net, **(told | longer)), expected, atol=1e-5, rtol=1e-5)
    moved = told | {"sequence": told["sequence"].roll(1, 2)}
    assert not torch.allclose(call(net, **moved), expected, atol=1e-3)
    full = told | {"mask": torch.ones(2, 5, dtype=torch.bool)}
    torch.testing.assert_close(call(net, **full), call(net, **(told | {"mask": None})), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["tiny", "patched", "efficient", "cross", "refined", "image", "karlo"])
def test_no_text_at_all(name: str) -> None:
    """Everything masked, as the unconditional half of guidance asks: finite, and the text is forgotten."""
    net, told = small(ALL[name]), given(ALL[name])
    told["mask"] = torch.tensor([[True] * 5, [False] * 5])
    found = call(net, **told)
    assert found.isfinite().all()
    other = call(net, **(told | {"sequence": told["sequence"].roll(1, 2)}))
    torch.testing.assert_close(other[1], found[1], atol=1e-6, rtol=0)
    assert not torch.allclose(other[0], found[0], atol=1e-3)
    found.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", ALL)
def test_rows_do_not_see_each_other(name: str) -> None:
    net, told = small(ALL[name]), given(ALL[name], rows=3)
    whole = call(net, **told)
    alone = call(net, **{key: value[1:2] for key, value in told.items()})
    torch.testing.assert_close(alone[0], whole[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("key", ["time", "augmentation", "low_res"])
def test_everything_given_counts(key: str) -> None:
    for config in (PATCHED, EFFICIENT):
        net, told = small(config), given(config)
        assert not torch.allclose(call(net, **(told | {key: told[key] * 0.5})), call(net, **told), atol=1e-3)


def test_sinusoids_have_cosines_first() -> None:
    told = sinusoids(torch.tensor([0.0, 2.0]), 4)
    expected = torch.tensor([2.0, 0.02])
    torch.testing.assert_close(told[0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(told[1], torch.cat([expected.cos(), expected.sin()]))
    assert torch.equal(sinusoids(torch.tensor([0.0, 2.0]), 5), torch.cat([told, torch.zeros(2, 1)], 1))
    assert sinusoids(torch.tensor([2.0]), 1).tolist() == [[0.0]]


def test_skip_scaling_halves_the_variance() -> None:
    """A residual block whose branches are independent and of variance one: their sum has two, times 0.7071^2."""
    generator = torch.Generator().manual_seed(0)
    x, other = torch.randn(2, 4, 64, 32, 32, generator=generator).unbind()
    variances = []
    for scale in (1.0, 0.7071):
        block = ResBlock(64, 64, replace(TINY, channels=(64, 64), residual_scale=scale))
        block.conv2 = Said(other)  # type: ignore[assignment]
        variances.append(float(block(x, torch.zeros(4, 256)).var()))
    assert variances[0] == pytest.approx(2.0, rel=0.02)
    assert variances[1] == pytest.approx(variances[0] / 2, rel=1e-3)


class Said(nn.Module):
    """Answers the same whatever it is asked, on top of the shortcut."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, _: Tensor, add: Tensor) -> Tensor:
        return add + self.answer


def test_the_patch_stem_puts_every_pixel_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stem and answer that pass on what they are given, the picture comes out as it went in."""
    config = replace(BARE, patch=4, channels=(48, 48))
    net = UNet(config)
    for part in (net.body, net.norm):
        monkeypatch.setattr(part, "forward", lambda x, *_: x)
    for layer in (net.stem, net.out):
        assert isinstance(layer, nn.Conv2d)
        nn.init.dirac_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    told = given(config, side=32)
    assert torch.equal(call(net, **told), told["x"])


def unnormed(self: Norm, x: Tensor, activation: UNetActivation | None = None, scale_shift: object = None) -> Tensor:
    return x if activation is None else activate(x, activation)


def test_only_self_attention_sees_far_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a crop's answer is the whole picture's, away from the crop's edge, though the text is attended to.

    Group norms, whose statistics take in everything, are off.
    """
    monkeypatch.setattr(Norm, "forward", unnormed)
    for config, sees in ((CROSS, False), (EFFICIENT, True)):
        net, whole = small(config, noise=0.03), given(config, side=128)
        cut = {name: value[..., :64, :64] if value.ndim == 4 else value for name, value in whole.items()}
        one, other = call(net, **whole)[..., :24, :24], call(net, **cut)[..., :24, :24]
        assert one.std() > 0.01
        assert torch.allclose(one, other, atol=1e-5) != sees
        silent = whole | {"mask": torch.zeros_like(whole["mask"])}
        assert not torch.allclose(one, call(net, **silent)[..., :24, :24], atol=1e-5)


def test_the_published_upsampler_takes_whole_pictures_and_crops() -> None:
    """256 -> 1024 (Imagen, section 2.4), on the meta device: crops of 256 in training, 1024 in painting."""
    config = PUBLISHED["imagen-super-1024"]
    with torch.device("meta"):
        net = UNet(config)
        for side in (256, 1024):
            low_res, level = torch.empty(1, 3, side, side), torch.empty(1)
            text = {"sequence": torch.empty(1, 5, config.text), "mask": torch.ones(1, 5, dtype=torch.bool)}
            told = {"x": torch.empty(1, 3, side, side), "time": level, "low_res": low_res, "augmentation": level} | text
            assert call(net, **told).shape == (1, 3, side, side)


def test_efficient_levels_step_down_first_and_up_last() -> None:
    """No residual block of the Efficient U-Net works at the full side."""
    sides: list[int] = []
    net = small(EFFICIENT)
    for module in net.modules():
        if isinstance(module, ResBlock):
            module.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[-1]))
    call(net, **given(EFFICIENT, side=16))
    assert sides == [8, 4, 4, 4, 4, 8]


def test_an_efficient_network_has_eight_heads_wherever_it_attends() -> None:
    with pytest.raises(UsageError, match="12 is not a multiple of 8 attention heads"):
        replace(EFFICIENT, channels=(8, 12), groups=4, attention=(False, True))


@pytest.mark.parametrize("config", [TINY, EFFICIENT], ids=["adm", "efficient"])
def test_overfits(config: UNetConfig) -> None:
    told = given(config, side=8, rows=4)
    target = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(3)).round()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(config)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(50):
        loss = (call(net, **told) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("name", ALL)
def test_conditions_are_those_that_the_config_declares(name: str) -> None:
    """None may be missing but the mask, none may be foreign, and each has its shape."""
    config, told = ALL[name], given(ALL[name])
    net, expected = UNet(config), {key: value for key, value in told.items() if key not in ("x", "time")}
    assert config.conditions((16, 16)).keys() == expected.keys()
    with pytest.raises(UsageError, match=r"^this U-Net takes no condition 'depth'; it takes .+\.$"):
        call(net, **told, depth=torch.zeros(2))
    for key, value in expected.items():
        without = {other: tensor for other, tensor in told.items() if other != key}
        if key != "mask":
            with pytest.raises(UsageError, match=rf"^this U-Net wants the condition '{key}'; it takes .+\.$"):
                call(net, **without)
        for wrong in (value[..., None], value[..., :-1] if value.ndim > 2 or key == "image" else value[:, None, None]):
            with pytest.raises(UsageError, match=rf"^the condition '{key}' has the shape \[.*\] a sample; it must be"):
                call(net, **without, **{key: wrong})


@pytest.mark.parametrize("name", ["image", "masked", "enlarged"])
def test_parts_that_a_trained_network_is_given_begin_all_but_silent(name: str) -> None:
    """Another picture embedding, or another mask, hardly changes the answer; what learns changes it at once.

    An embedding's tokens are heard from the start, and little: keys that a bias hid would stay hidden for a whole
    training, in which a bias moves by no more than the sum of its learning rates. Nets with 7 channels of input, or an
    upsampler's 10, begin as the base that they are made of.
    """
    grown = ALL[name]
    before = replace(grown, image=0, masked=0)
    net, told = small(before), given(grown)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        more = UNet(grown).eval()
    more.load_state_dict(more.state_dict() | net.state_dict())
    key = "image" if name == "image" else "masked"
    plain = call(net, **{other: value for other, value in told.items() if other != key})
    least, most = (2e-3, 5e-2) if name == "image" else (0.0, 1e-6)
    for value in (told[key], -told[key]):
        apart = (call(more, **(told | {key: value})) - plain).std() / plain.std()
        assert least <= float(apart.detach()) < most
    call(more, **told).square().sum().backward()
    new = [parameter for path, parameter in more.named_parameters() if path not in net.state_dict()]
    assert len(new) == (4 if name == "image" else 2)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in new)
    if name == "image":  # tokens that began alike would stay alike
        rows = more.get_parameter("conditioning.image.tokens.weight").view(3, -1)
        assert not torch.allclose(rows[0], rows[1])


@pytest.mark.parametrize("way", ["embed", "tokens"])
def test_a_picture_embedding_has_an_effect_either_way_where_all_text_is_masked(way: str) -> None:
    net, told = small(IMAGE), given(IMAGE) | {"mask": torch.zeros(2, 5, dtype=torch.bool)}
    with torch.no_grad():
        for path in {"embed", "tokens"} - {way}:
            net.get_parameter(f"conditioning.image.{path}.weight").zero_()
    assert not torch.allclose(call(net, **told), call(net, **(told | {"image": -told["image"]})), atol=1e-3)


def test_a_pooled_text_is_heard_through_the_time_embedding() -> None:
    net, told = small(KARLO), given(KARLO)
    assert not torch.allclose(call(net, **told), call(net, **(told | {"pooled": -told["pooled"]})), atol=1e-3)
    with pytest.raises(UsageError, match="wants the condition 'pooled'"):
        call(net, **(told | {"pooled": None}))


def test_projected_text_is_normed_where_asked() -> None:
    """Then a text three times as loud says the same."""
    net, told = small(replace(KARLO, pooled=0)), given(replace(KARLO, pooled=0))
    with torch.no_grad():
        net.get_parameter("conditioning.context.bias").zero_()
    louder = call(net, **(told | {"sequence": 3 * told["sequence"]}))
    torch.testing.assert_close(louder, call(net, **told), atol=1e-4, rtol=1e-4)


def small_block(config: UNetConfig) -> ResBlock:
    """The first residual block of a network."""
    return next(module for module in small(config).modules() if isinstance(module, ResBlock))


def test_an_embedding_that_is_added_moves_what_is_normed() -> None:
    """By the same amount in every channel of a group it is lost in the norm, and by any other it is not."""
    block = small_block(replace(ADDED, channels=(8, 8), groups=1))
    x, embed = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0)), torch.ones(1, 32)
    with torch.no_grad():
        nn.init.constant_(block.lead.weight, 0.5)
        block.lead.bias.zero_()
        torch.testing.assert_close(block(x, embed), block(x, 0 * embed), atol=1e-3, rtol=0)
        block.lead.weight[0] = -3.0
        assert not torch.allclose(block(x, embed), block(x, 0 * embed), atol=0.05)


def test_reading_is_zero_initialised_and_tells_words_by_their_places() -> None:
    """A trained network may be given such blocks; then two words that change places are another sentence."""
    without, told = replace(REFINED, refiner_layers=0), given(REFINED)
    net, grown = small(without), UNet(REFINED).eval()
    grown.load_state_dict(grown.state_dict() | net.state_dict())
    torch.testing.assert_close(call(grown, **told), call(net, **told), atol=1e-5, rtol=1e-5)
    swapped = told | {"sequence": told["sequence"][:, [1, 0, 2, 3, 4]]}
    same = call(net, **told)  # attention sees a bag of words
    torch.testing.assert_close(call(net, **swapped), same, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(call(small(REFINED), **swapped), call(small(REFINED), **told), atol=1e-3)


def test_forgetting_text_leaves_a_network_that_never_had_any() -> None:
    """What the comparison of readers begins anew (scripts/forget_text.py) is all that a text brings, and only that."""
    having, never = (dict(UNet(config).named_parameters()) for config in (REFINED, replace(TINY, text=0)))
    assert {name for name in having if not OF_TEXT.search(name)} == never.keys()


@pytest.mark.parametrize("name", ["tiny", "patched", "if", "efficient"])
def test_bf16_is_near(name: str) -> None:
    """Under autocast and with bf16 weights; the answer keeps the type of x."""
    net, told = small(ALL[name]), given(ALL[name])
    expected = call(net, **told).detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = call(net, **told)
    assert found.dtype == torch.float32
    near = 0.05 * float(expected.std())
    assert float((found.detach() - expected).abs().mean()) < near
    assert float((call(net.bfloat16(), **told).detach() - expected).abs().mean()) < near


@pytest.mark.parametrize("config", [PATCHED, CROSS], ids=["adm", "efficient"])
def test_one_graph_for_the_compiler(config: UNetConfig) -> None:
    """torch.compile sees the network whole; here one level of it, without the minutes that generating code takes."""
    config = replace(config, channels=(32,), blocks=(1,), attention=(True,))
    net, told = small(config), given(config)
    with torch.no_grad():
        found = call(torch.compile(net, backend="eager", fullgraph=True), **told)
        torch.testing.assert_close(found, call(net, **told), atol=1e-6, rtol=1e-6)


def test_attention_of_fewer_channels_than_a_head_has() -> None:
    """One narrow head: what the config lets pass can be built and run."""
    config = UNetConfig(channels=(32, 48), blocks=(1, 1), attention=(True, True), head=64)
    with torch.no_grad():
        assert UNet(config)(torch.zeros(1, 3, 8, 8), torch.zeros(1), {}).shape == (1, 3, 8, 8)


def test_impossible_configs_are_refused() -> None:
    for change, told in (
        ({"blocks": (1,)}, "blocks"),
        ({"channels": (), "blocks": (), "attention": ()}, "channels must name the width of at least one level"),
        ({"channels": (20, 64)}, "groups"),
        ({"patch": 0}, "patch"),
        ({"heads": 7}, "7 attention heads"),
        ({"text": 0, "self_attention": False}, "self_attention"),
        ({"pool_heads": 7}, "pool_heads"),
        ({"text_norm": "group"}, "attend_padding"),
        ({"refiner_layers": -1}, "unet.refiner_layers must be from 0 to 256, not -1"),
        ({"refiner_layers": 1, "text": 0, "attention": (False, False), "middle": False}, "refiner_layers=1"),
        ({"refiner_layers": 1, "context": 33}, "2 heads divide, not 33"),
        ({"text_norm": "group", "attend_padding": True, "text": 22}, "groups"),
        ({"image": -1}, "image must be at least 0, not -1"),
        ({"context_norm": True}, "context_norm is of text that is projected"),
        ({"masked": -4}, "masked must be at least 0"),
        ({"image": 8, "text": 0}, "image_tokens without text need a width"),
        ({"image_hidden": 8}, "image_hidden is the width of what reads a picture embedding: set unet.image"),
    ):
        with pytest.raises(UsageError, match=told):
            replace(TINY, **change)


def test_a_picture_embedding_is_added_to_the_times() -> None:
    net, told = small(IMAGE), given(IMAGE)
    with torch.no_grad():
        heard, _ = net.conditioning(told["time"], told)
        unheard, _ = net.conditioning(told["time"], told | {"image": torch.zeros_like(told["image"])})
        embed = net.conditioning.image.embed  # type: ignore[union-attr]
        wanted = embed(told["image"]) - embed(torch.zeros_like(told["image"]))
    torch.testing.assert_close(heard - unheard, wanted, atol=1e-5, rtol=1e-4)
    assert wanted.abs().max() > 0.1

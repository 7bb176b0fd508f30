"""What every kind of network answers, with weights and inputs that are made of arithmetic, changes on purpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.decoder import CachedDecoder
from pinxit.models.detector import Detector, DetectorConfig
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.models.prior import DiffusionPrior, PriorConfig, TokenPrior
from pinxit.models.prior_decoder import PriorDecoder
from pinxit.models.resnet import ResNet, ResNetConfig
from pinxit.models.text import TextTransformer, TextTransformerConfig
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.models.unet import UNet
from tests.golden import golden
from tests.models.test_unet import ALL, given

LIST = Path(__file__).parent / "golden" / "answers.json"
Answers = Iterable[Tensor]
Net = TypeVar("Net", bound=nn.Module)


def values(*shape: int, start: int = 0) -> Tensor:
    """Numbers from -1 to 1 that look random and hang on no generator."""
    places = torch.arange(math.prod(shape), dtype=torch.float64) + 1
    return (((places * 12.9898 + start * 78.233).sin() * 43758.5453 % 1) * 2 - 1).float().view(shape)


@torch.no_grad()
def filled(module: Net) -> Net:
    """In eval mode, with weights of about the size of trained ones: gains and variances around 1."""
    for number, (name, tensor) in enumerate(module.state_dict().items()):
        if tensor.is_floating_point() and tensor.ndim and tensor.numel():
            wave = values(*tensor.shape, start=number)
            if tensor.ndim > 1:
                wave = 1.7 * wave * (tensor.numel() / len(tensor)) ** -0.5
            elif name.endswith(("weight", "running_var")):
                wave = 1 + 0.3 * wave
            tensor.copy_(wave)
    return module.eval()


def dvae(**changes: object) -> Answers:
    shape = {"size": 16, "channels": 8, "n_init": 6, "groups": 2, "blocks": 2, "codes": 12} | changes
    net = filled(DVAE(DVAEConfig(**shape)))  # type: ignore[arg-type]
    pictures = values(2, 3, 16, 24).abs()
    told = net(pictures, 0.7)
    yield from (told.mu, told.ln_b, told.kl, told.commitment)
    yield net.decode_codes(net.encode_codes(pictures))


def tokens(**changes: object) -> Answers:
    shape = {"text_vocab": 10, "text_tokens": 4, "image_codes": 9, "grid": 5, "dim": 16, "depth": 3, "heads": 2}
    net = filled(TokenTransformer(TransformerConfig(**(shape | {"kernel": 3} | changes))))  # type: ignore[arg-type]
    text = torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]])
    yield from net(text, torch.arange(50).view(2, 25) * 5 % 9)
    decoder = CachedDecoder(net, 2, torch.float32)
    yield decoder.prefill([0, 1], text)
    yield decoder.step(torch.tensor([1, 2]), torch.tensor([0, 0]))


def clip(vision: CLIPVisionConfig) -> Answers:
    text = CLIPTextConfig(vocab=20, tokens=6, width=16, layers=2, heads=2, eot=3)
    net = filled(CLIP(CLIPConfig(12, vision, text)))
    yield from net(values(2, 3, vision.size, vision.size).abs(), torch.tensor([[2, 5, 6, 3, 0, 0], [2, 7, 3, 3, 9, 0]]))
    yield net.image_features(values(1, 3, vision.size, vision.size, start=1).abs())


def unet(name: str) -> Answers:
    told = {key: values(*one.shape) if one.is_floating_point() else one for key, one in given(ALL[name]).items()}
    x, time = told.pop("x"), told.pop("time")
    yield filled(UNet(ALL[name]))(x, 500 + 400 * time, told)


def prior(config: PriorConfig) -> Answers:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    told = {"sequence": values(2, 3, 6), "mask": mask, "pooled": values(2, 8)}
    if not config.buckets:
        yield filled(DiffusionPrior(config))(values(2, 5), torch.tensor([10.0, 800.0]), told)
        return
    net, codes = filled(TokenPrior(config)), torch.arange(10).view(2, 5) % 7
    yield net(told, torch.tensor([0, 2]), codes)
    yield PriorDecoder(net, told, torch.tensor([0, 2])).step(codes[:, 0])


def text() -> Answers:
    net = filled(TextTransformer(TextTransformerConfig(vocab=20, tokens=6, width=16, layers=2, heads=2)))
    told = net(torch.tensor([[4, 5, 6, 0, 0], [0, 0, 0, 0, 0]]))
    return [told.sequence, told.pooled]


def detector() -> Answers:
    words = {"colours": ("red", "green"), "forms": ("disc",), "styles": ("sketch",), "places": ("white", "snow")}
    words |= {"materials": ("wood",), "garments": ("hat", "boots"), "links": ("riding",), "lights": ("dusk",)}
    sizes = {"size": 32, "widths": (8, 12), "blocks": (1, 2), "neck": 16}
    net = filled(Detector(DetectorConfig(("fox", "cat"), views=("top",), letters="AB", **words, **sizes)))  # type: ignore[arg-type]
    pictures = values(2, 3, 32, 32).abs()
    found = net(pictures)
    picture, name, cell = torch.tensor([[0, 1, 1], [1, 0, 1], [9, 30, 63]])
    told = net.describe(found, picture, name, cell)
    yield from (*found, *told, net.dress(found, picture, cell, told))
    assert net.reader is not None
    yield net.reader(pictures, picture[:2], torch.tensor([[0.1, 0.2, 0.9, 0.5], [0.0, 0.5, 1.0, 1.2]]))


PRIOR = PriorConfig(components=5, embed=8, text=6, length=3, width=16, layers=2, heads=2)
NETS: dict[str, Callable[[], Answers]] = {
    "dvae": dvae,
    "dvae of patches": lambda: dvae(patch=2, quantiser="fsq", levels=(4, 3), decoder_blocks=1, ln_b_floor=-1.0),
    "dvae of vectors": lambda: dvae(quantiser="vq", code_dim=12, shortcut=True),
    "dvae that learns its codebook": lambda: dvae(quantiser="vq", code_dim=5, codebook_decay=0.0, gain=0.5),
    "transformer": tokens,
    "dense transformer": lambda: tokens(attention="dense", start_of_image=True, tied=True),
    "clip": lambda: clip(CLIPVisionConfig(size=16, patch=8, width=16, layers=2, heads=2)),
    "clip of a resnet": lambda: clip(CLIPVisionConfig(size=32, width=16, stages=(1, 2), mixing=1, mixing_width=64)),
    **{f"unet {name}": lambda name=name: unet(name) for name in ALL},  # type: ignore[misc]
    "prior": lambda: prior(PRIOR),
    "prior as Karlo's": lambda: prior(replace(PRIOR, pads="hidden", pooled="raw")),
    "prior of tokens": lambda: prior(replace(PRIOR, buckets=7, dots=3)),
    "text": text,
    "resnet": lambda: [filled(ResNet(ResNetConfig(5, width=4)))(values(2, 3, 64, 64).abs())],
    "detector": detector,
}


@torch.no_grad()
def answers(name: str) -> list[list[float]]:
    """Of each answer its mean, its deviation, a sum over its values with weights that tell places apart, its shape."""
    found = []
    for answer in NETS[name]():
        flat = answer.double().flatten()
        weighed = (flat * values(len(flat)).double()).sum() / len(flat) ** 0.5
        told = [float(f"{float(one):.5g}") for one in (flat.mean(), flat.std(correction=0), weighed)]
        found.append([*told, *answer.shape])
    return found


@pytest.mark.parametrize("name", NETS)
def test_every_network_answers_as_listed(name: str) -> None:
    expected, found = golden(LIST, lambda: {one: answers(one) for one in NETS})[name], answers(name)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one[3:] == other[3:] and one[:3] == pytest.approx(other[:3], rel=2e-3, abs=2e-3 * other[1] + 1e-6)

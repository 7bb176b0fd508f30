"""CLIP (Radford et al. 2021): a picture tower and a text tower with one embedding space.

Shapes: B batch, L text positions, E shared embedding, D tower width, N patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.errors import UsageError
from pinxit.models.clip_resnet import HEAD, ResNetTower
from pinxit.models.layers import Activation, Blocks
from pinxit.schema import Count, Depth, Finite, Positive, Several, SomeDepth, Whole, check_fields
from pinxit.types import Fitting

RGB = 3
MAX_LOGIT_SCALE = math.log(100.0)  # section 2.5: logits are never scaled by more than 100


@dataclass(frozen=True, slots=True)
class CLIPVisionConfig:
    """The picture tower (section 2.4; sizes in tables 19 and 20): a ViT, or with `stages` a ModifiedResNet.

    The defaults are ViT-B/32's.
    """

    size: Count = 224  # picture side in pixels
    width: Count = 768  # of a ResNet: channels of the stem; its features have 32 times as many
    patch: Count = 32  # ViT: patch side in pixels
    layers: Depth = 12  # ViT
    heads: Count = 12  # ViT
    stages: tuple[Depth, ...] = ()  # ResNet: bottlenecks of each of its four stages; empty for a ViT
    mixing: SomeDepth = 0  # ResNet: transformer blocks over its last map; the paper's have none
    mixing_width: Count = 256  # their width

    @property
    def features(self) -> int:
        """Width of the tower's features before the projection."""
        return self.width << (len(self.stages) + 1) if self.stages else self.width


@dataclass(frozen=True, slots=True)
class CLIPTextConfig:
    """The text tower, a causal transformer (section 2.4)."""

    vocab: Count = 49408
    tokens: Several = 77  # longest sequence, SOT and EOT included
    width: Count = 512
    layers: Depth = 12
    heads: Count = 8
    eot: Whole = 49407  # id of the end-of-text token, where the text is pooled


@dataclass(frozen=True, slots=True)
class CLIPConfig:
    """Both towers and their shared space. The defaults are the published ViT-B/32: 151,277,313 parameters."""

    embed: Count = 512
    vision: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)
    text: CLIPTextConfig = field(default_factory=CLIPTextConfig)
    activation: Activation = "quickgelu"
    mean: tuple[Finite, ...] = (0.48145466, 0.4578275, 0.40821073)  # of the training pictures, per channel
    std: tuple[Positive, ...] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        vision = self.vision
        for section, name in ((self, "clip"), (vision, "clip.vision"), (self.text, "clip.text")):
            check_fields(section, name)
        if not len(self.mean) == len(self.std) == RGB:
            raise UsageError(f"clip.mean and clip.std need {RGB} numbers each, one for every colour.")
        step = 2 ** (len(vision.stages) + 1) if vision.stages else vision.patch
        if vision.size % step:
            raise UsageError(f"clip: picture side {vision.size} is not a multiple of patch {step}.")
        heads = vision.features // HEAD
        if vision.stages and (vision.width < 2 or not heads or vision.features % heads):
            problem = f"clip.vision.width {vision.width} gives a ResNet {vision.features} features"
            raise UsageError(f"{problem}: take a width with which they are a multiple of {HEAD}, a head's channels.")
        if self.text.eot >= self.text.vocab:
            raise UsageError(f"clip.text.eot {self.text.eot} must be less than clip.text.vocab, {self.text.vocab}.")
        if vision.mixing and not vision.stages:
            raise UsageError("clip.vision.mixing belongs to a ResNet: set clip.vision.stages too.")
        if vision.mixing and vision.mixing_width % HEAD:
            raise UsageError(f"clip.vision.mixing_width must be a multiple of {HEAD}, not {vision.mixing_width}.")
        for name, tower in (("vision", vision), ("text", self.text)):
            if tower.width % tower.heads and not (name == "vision" and vision.stages):
                raise UsageError(f"clip.{name}: width {tower.width} is not a multiple of {tower.heads} heads.")


class VisionTower(nn.Module):
    """ViT with a class token: `features` [B, 3, S, S] -> [B, D], `forward` -> [B, E]."""

    def __init__(self, config: CLIPVisionConfig, embed: int, activation: Activation) -> None:
        super().__init__()
        scale, positions = config.width**-0.5, (config.size // config.patch) ** 2 + 1
        self.patches = nn.Conv2d(3, config.width, config.patch, config.patch, bias=False)
        self.class_token = nn.Parameter(scale * torch.randn(config.width))
        self.positions = nn.Parameter(scale * torch.randn(positions, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.blocks = Blocks(config.width, config.layers, config.heads, activation)
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(scale * torch.randn(config.width, embed))

    def features(self, x_BCHW: Tensor) -> Tensor:
        """The normed class token before the projection, [B, D]: what a linear probe reads (section 3.2)."""
        x_BND = self.patches(x_BCHW).flatten(2).transpose(1, 2)
        first = self.class_token.expand(x_BND.shape[0], 1, -1).to(x_BND.dtype)
        x_BND = torch.cat([first, x_BND], 1) + self.positions.to(x_BND.dtype)
        return self.ln_post(self.blocks(self.ln_pre(x_BND))[:, 0])  # type: ignore[no-any-return]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.features(x_BCHW) @ self.proj


class TextTower(nn.Module):
    """Causal transformer pooled at the first EOT: `sequence` [B, L] -> [B, L, D], `forward` -> [B, E]."""

    def __init__(self, config: CLIPTextConfig, embed: int, activation: Activation) -> None:
        super().__init__()
        self.eot = config.eot
        self.tokens = nn.Embedding(config.vocab, config.width)
        self.positions = nn.Parameter(0.01 * torch.randn(config.tokens, config.width))
        self.blocks = Blocks(config.width, config.layers, config.heads, activation, causal=True)
        self.ln_final = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(config.width**-0.5 * torch.randn(config.width, embed))
        nn.init.normal_(self.tokens.weight, std=0.02)

    def sequence(self, ids_BL: Tensor) -> Tensor:
        """Normed states of every position, [B, L, D]; L may be shorter than the config's `tokens`."""
        x_BLD = self.tokens(ids_BL)
        x_BLD = x_BLD + self.positions[: ids_BL.shape[1]].to(x_BLD.dtype)
        return self.ln_final(self.blocks(x_BLD))  # type: ignore[no-any-return]

    def forward(self, ids_BL: Tensor) -> Tensor:
        # No padding mask: attention is causal, so what follows the first EOT cannot reach it.
        end_B = (ids_BL == self.eot).int().argmax(1)
        rows = torch.arange(ids_BL.shape[0], device=ids_BL.device)
        return self.sequence(ids_BL)[rows, end_B] @ self.proj


def build_vision(config: CLIPVisionConfig, embed: int, activation: Activation) -> VisionTower | ResNetTower:
    """The picture tower a config asks for."""
    if config.stages:
        mixing = config.mixing, config.mixing_width
        return ResNetTower(config.size, config.width, config.stages, embed, *mixing, activation)
    return VisionTower(config, embed, activation)


class CLIP(nn.Module):
    """Two towers and the learned temperature. Embeddings come out with length one."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = build_vision(config.vision, config.embed, config.activation)
        self.text = TextTower(config.text, config.embed, config.activation)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.fitting = Fitting()  # how its training resized and cropped pictures
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def encode_image(self, pictures_B3HW: Tensor) -> Tensor:
        """Pictures in [0, 1] at the model's size -> unit embeddings [B, E]."""
        return F.normalize(self.visual(self._normalised(pictures_B3HW)), dim=-1)

    def image_features(self, pictures_B3HW: Tensor) -> Tensor:
        """Pictures in [0, 1] at the model's size -> the tower's features before its projection, [B, D]."""
        return self.visual.features(self._normalised(pictures_B3HW))

    def encode_text(self, ids_BL: Tensor) -> Tensor:
        """Token ids `SOT ... EOT 0 0`, every row with an EOT and L <= `tokens` -> unit embeddings [B, E]."""
        return F.normalize(self.text(ids_BL), dim=-1)

    def _normalised(self, pictures_B3HW: Tensor) -> Tensor:
        size = self.config.vision.size
        assert pictures_B3HW.shape[-2:] == (size, size), f"pictures must be {size} x {size}"
        return (pictures_B3HW - self.mean) / self.std

    def scale(self) -> Tensor:
        """What cosines are multiplied by to give logits: exp(logit_scale)."""
        return self.logit_scale.exp()

    def forward(self, pictures_B3HW: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(image [B, E], text [B, E], scale []): the arguments of `functional.contrastive.contrastive_loss`."""
        return self.encode_image(pictures_B3HW), self.encode_text(ids_BL), self.scale()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep exp(logit_scale) <= 100; call after every optimiser step (section 2.5)."""
        self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)

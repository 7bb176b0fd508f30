"""The parts of a U-Net: residual blocks with adaptive group norm, and joint attention to picture and text.

ADM (Dhariwal and Nichol 2021, section 3) as Imagen (Saharia et al. 2022, appendix F) and DeepFloyd IF use it.
Shapes: B batch, C channels, H W rows and columns, N = H W positions, L text positions, D text width, E embedding.
Everything stays in the channels-last layout, in which a map [B, C, H, W] becomes a sequence [B, N, C] without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.unet_config import UNetActivation, UNetConfig, groups_of

Resample = Literal["", "down", "up"]
SHORT = 2048  # keys beyond which the CPU's fused attention pays off
LARGE = 1024  # positions from which torch's CPU group norm takes another path, fast for groups of any size


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """The context of the attention layers: a text, a picture embedding's tokens, or the latter before the former."""

    sequence: Tensor  # [B, L, D]
    bias: Tensor | None = None  # [B, L], added to the scores: 0 where there is text, -inf elsewhere; None: all is text


def activate(x: Tensor, activation: UNetActivation) -> Tensor:
    """SiLU or the exact GELU."""
    return F.silu(x) if activation == "silu" else F.gelu(x)


def as_sequence(x_BCHW: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, N, C], a view of a channels-last map."""
    B, C, H, W = x_BCHW.shape
    return x_BCHW.permute(0, 2, 3, 1).reshape(B, H * W, C)


def as_map(x_BNC: Tensor, like_BCHW: Tensor) -> Tensor:
    """[B, N, C] -> [B, C, H, W] in channels-last layout, a view; H and W are those of `like`."""
    B, _, C = x_BNC.shape
    return x_BNC.view(B, *like_BCHW.shape[-2:], C).permute(0, 3, 1, 2)


class Conv(nn.Conv2d):
    """A convolution with "same" padding (half the side with `stride` 2), whose output is added to `add` if given.

    `zero`: zero-initialised, as the last layer of a residual branch is.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, zero: bool = False) -> None:
        super().__init__(inputs, outputs, kernel, stride, kernel // 2)
        if zero:
            zero_(self)

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        y = super().forward(x)
        return y if add is None else add + y


class UpConv(Conv):
    """Nearest-neighbour upsampling to twice the side, then the convolution."""

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        return super().forward(resampled(x, "up"), add)


class Linear(nn.Linear):
    """A linear layer whose output is added to `add` if given; `zero` as in `Conv`."""

    def __init__(self, inputs: int, outputs: int, zero: bool = False) -> None:
        super().__init__(inputs, outputs)
        if zero:
            zero_(self)

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        y = super().forward(x)
        return y if add is None else add + y


def zero_(layer: Conv | Linear) -> None:
    """Zero weights and bias."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Norm(nn.GroupNorm):
    """Group normalisation, then optionally a scale and shift [B, 2 C] per picture, then optionally the activation.

    Statistics are taken in float32 whatever the type of the map.
    """

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__(groups_of(channels, config.groups), channels)

    def forward(self, x: Tensor, activation: UNetActivation | None = None, scale_shift: Tensor | None = None) -> Tensor:
        odd = self.num_channels // self.num_groups % 16 > 0
        if odd and x.device.type == "cpu" and (x.requires_grad or x.shape[-2:].numel() < LARGE):
            x = self._by_channel(x, scale_shift)
        else:
            x = F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
            if scale_shift is not None:
                scale, shift = scale_shift[:, :, None, None].chunk(2, 1)
                x = torch.addcmul(shift, x, 1 + scale)
        return x if activation is None else activate(x, activation)

    def _by_channel(self, x_BCHW: Tensor, scale_shift: Tensor | None) -> Tensor:
        """The same from every channel's mean and variance, as one factor and one summand a channel.

        For groups that are no multiple of 16 channels the CPU's channels-last kernel takes two to twenty times as long.
        The variance is that of centred values: as a difference of squares it loses the digits that the mean takes up.
        """
        B, C, G = *x_BCHW.shape[:2], self.num_groups
        x_BNC = as_sequence(x_BCHW).float()
        mean_B1C = x_BNC.mean(1, keepdim=True)
        x_BNC = x_BNC - mean_B1C
        means = mean_B1C.view(B, G, -1)
        apart = means - means.mean(2, keepdim=True)  # of each channel's mean from that of its group
        variance = (x_BNC.square().mean(1).view(B, G, -1) + apart.square()).mean(2, keepdim=True)
        factor = self.weight.float().view(G, -1) * variance.add(self.eps).rsqrt()
        summand = (self.bias.float().view(G, -1) + apart * factor).view(B, 1, C)
        factor = factor.view(B, 1, C)
        if scale_shift is not None:
            scale, shift = scale_shift[:, None].float().chunk(2, 2)
            factor, summand = factor * (1 + scale), torch.addcmul(shift, summand, 1 + scale)
        return as_map(torch.addcmul(summand, x_BNC, factor).to(x_BCHW.dtype), x_BCHW)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v: q [B, H, N, d], k and v [B, H, M, d], bias [B, 1, 1, M] or None.

    For short sequences plain products beat the CPU's fused kernel, forward and backward.
    """
    if q.device.type != "cpu" or k.shape[2] > SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    B, H, N, d = q.shape
    q, k, v = (x.reshape(B * H, -1, d) for x in (q * d**-0.5, k, v))
    if bias is None:
        scores = q @ k.transpose(1, 2)
    else:
        scores = torch.baddbmm(bias.expand(B, H, 1, -1).flatten(0, 1), q, k.transpose(1, 2))
    return (scores.softmax(-1) @ v).view(B, H, N, d)


class Attention(nn.Module):
    """Every position attends to the text and to every position, [B, C, H, W] -> the input plus what was attended to.

    Text keys and values are put before the picture's own (Imagen, section 2.4 and appendix F; GLIDE). Without
    `self_attention` a row that has no text gets zeros. `hidden` channels are split into `heads`.
    """

    def __init__(self, channels: int, hidden: int, heads: int, config: UNetConfig) -> None:
        super().__init__()
        self.heads, self.self_attention = heads, config.self_attention
        self.norm = Norm(channels, config)
        self.qkv = Linear(channels, 3 * hidden if config.self_attention else hidden)
        self.text_norm: nn.Module | None = None
        self.text_kv: Linear | None = None
        if config.reads:
            self.text_kv = Linear(config.text_width, 2 * hidden)
            if config.text_norm == "layer":
                self.text_norm = nn.LayerNorm(config.text_width)
            elif config.text_norm == "group":
                self.text_norm = nn.GroupNorm(groups_of(config.text_width, config.groups), config.text_width)
        self.out = Linear(hidden, channels, zero=True)

    def forward(self, x_BCHW: Tensor, text: AttentionContext | None) -> Tensor:
        own = self._split(self.qkv(as_sequence(self.norm(x_BCHW))), 3 if self.self_attention else 1)
        q, keys, values = own[0], list(own[1:2]), list(own[2:])
        bias = None
        if self.text_kv is not None:
            assert text is not None, "this U-Net needs text"
            k, v = self._split(self.text_kv(self._normed(text.sequence)), 2)
            keys.insert(0, k)
            values.insert(0, v)
            bias = None if text.bias is None else F.pad(text.bias.to(q.dtype), (0, q.shape[2] * (len(keys) - 1)))
        k, v = (torch.cat(both, 2) if len(both) > 1 else both[0] for both in (keys, values))
        mixed = self._attend(q, k, v, bias)
        mixed_BNC = mixed.transpose(1, 2).reshape(q.shape[0], q.shape[2], -1)
        return as_map(self.out(mixed_BNC, add=as_sequence(x_BCHW)), x_BCHW)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None or self.self_attention:
            return attend(q, k, v, None if bias is None else bias[:, None, None])
        blind = bias.isneginf().all(1)[:, None]  # no text at all: attend to anything and discard it
        mixed = attend(q, k, v, bias.masked_fill(blind, 0.0)[:, None, None])
        return mixed.masked_fill(blind[:, :, None, None], 0.0)

    def _split(self, x_BNC: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[B, N, parts H d] -> `parts` of [B, H, N, d]."""
        B, N, C = x_BNC.shape
        return x_BNC.view(B, N, parts, self.heads, C // (parts * self.heads)).permute(2, 0, 3, 1, 4).unbind(0)

    def _normed(self, text_BLD: Tensor) -> Tensor:
        if isinstance(self.text_norm, nn.GroupNorm):
            return self.text_norm(text_BLD.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]
        return text_BLD if self.text_norm is None else self.text_norm(text_BLD)


class ResBlock(nn.Module):
    """A residual block with adaptive group norm (AdaGN): the embedding [B, E] scales and shifts its second norm.

    Without `scale_shift` the embedding is added to that norm's input, as in DDPM.

    `resample` downsamples (mean) or upsamples (nearest) both branches after the first norm, as BigGAN does.
    """

    def __init__(self, inputs: int, outputs: int, config: UNetConfig, resample: Resample = "") -> None:
        super().__init__()
        self.activation, self.activate_embed = config.activation, not config.activate_once
        self.scale, self.dropout, self.resample = config.residual_scale, config.dropout, resample
        self.norm1 = Norm(inputs, config)
        self.conv1 = (UpConv if resample == "up" else Conv)(inputs, outputs)
        self.scale_shift = config.scale_shift
        self.lead = Linear(config.embed_width, 2 * outputs if config.scale_shift else outputs)
        self.norm2 = Norm(outputs, config)
        self.conv2 = Conv(outputs, outputs, zero=True)
        self.shortcut = Conv(inputs, outputs, 1) if inputs != outputs or config.efficient else nn.Identity()

    def forward(self, x: Tensor, embed_BE: Tensor) -> Tensor:
        h = self.norm1(x, self.activation)
        if self.resample:
            x = resampled(x, self.resample)
        if self.resample == "down":
            h = resampled(h, "down")
        modulation = self.lead(activate(embed_BE, self.activation) if self.activate_embed else embed_BE)
        h = self.conv1(h)
        if not self.scale_shift:
            h, modulation = h + modulation[:, :, None, None], None
        h = self.norm2(h, self.activation, modulation)
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        x = self.conv2(h, add=self.shortcut(x))
        return x if self.scale == 1 else x * self.scale


def resampled(x: Tensor, how: Resample) -> Tensor:
    """Half the side by means, or twice the side by repetition."""
    return F.avg_pool2d(x, 2) if how == "down" else F.interpolate(x, scale_factor=2.0, mode="nearest")

"""A U-Net made ready for sampling: weights cast, packed and fused with what follows them.

On a CPU, oneDNN computes with weights in its own blocked layout. It reorders row-major weights at every call, which can
cost more than the convolution itself where maps are small and layers wide; here that is done once. benchmarks/unet.py
measures it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from pinxit.errors import UsageError
from pinxit.models.dtypes import fastest_dtype, packs
from pinxit.models.unet import UNet
from pinxit.models.unet_blocks import Conv, Linear, UpConv


def fast_unet(unet: UNet, dtype: torch.dtype | None = None, spend: bool = False) -> UNet:
    """A copy of `unet` for inference on its device in `dtype` (None: the fastest there), called in the same way.

    The original is left as it was, and its later training does not reach the copy; with `spend` its weights are freed
    as they are copied, so that large ones are never in memory twice. Call the copy without gradients. Weights are
    packed for the first input shape; other shapes work too, only slower.
    """
    device = unet.norm.weight.device
    dtype = dtype or fastest_dtype(device)
    twin = _twin(unet, dtype, packs(device, dtype), spend)
    assert isinstance(twin, UNet)
    return twin.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _twin(module: nn.Module, dtype: torch.dtype, packs: bool, spend: bool) -> nn.Module:
    """The same tree of modules over copies of the weights, its convolutions and linear layers packed."""
    twin = (_packed(module, dtype) if packs else None) or _copied(module, dtype, packs, spend)
    if spend:
        module._parameters.clear()
    return twin


def _packed(module: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    if isinstance(module, UpConv):
        return PackedUpConv(module, dtype)
    if isinstance(module, Conv):
        return PackedConv(module, dtype)
    return PackedLinear(module, dtype) if isinstance(module, Linear) else None


def _copied(module: nn.Module, dtype: torch.dtype, packs: bool, spend: bool) -> nn.Module:
    twin = copy(module)
    twin._parameters, twin._modules = {}, {}
    for name, tensor in module._parameters.items():
        kept = None if tensor is None else nn.Parameter(tensor.detach().to(dtype, copy=True), requires_grad=False)
        twin.register_parameter(name, kept)
    for name, child in module._modules.items():
        twin.add_module(name, None if child is None else _twin(child, dtype, packs, spend))
    return twin


class Packed(nn.Module):
    """A layer with weights in oneDNN's layout, which only this process can read."""

    def __getstate__(self) -> dict[str, Any]:
        """Raises UsageError."""
        raise UsageError(
            "a U-Net packed for this CPU can be neither pickled nor copied: open its checkpoint again, in each process."
        )


class PackedConv(Packed):
    """`Conv` with weights in oneDNN's layout for the first input's shape."""

    def __init__(self, conv: Conv, dtype: torch.dtype) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weight = conv.weight.detach().to(dtype, copy=True)  # row-major, until the first call packs it
        self.bias = nn.Parameter(conv.bias.detach().to(dtype, copy=True), requires_grad=False)
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.packed = False

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        if not self.packed:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.geometry, list(x.shape))
            self.packed = True
        plain: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise.default
        adding: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise.binary
        inputs = x.to(self.bias.dtype), self.weight, self.bias, *self.geometry
        if add is None:
            return plain(*inputs, "none", [], "")
        return adding(inputs[0], add.to(self.bias.dtype), *inputs[1:], "add", 1.0, None, [], None)


class PackedUpConv(nn.Module):
    """`UpConv` computed on the small map: of a 3 x 3 kernel over repeated values, taps that see one value add up.

    That leaves 2 x 2 kernels, one for each parity (row a, column b) of the output: channels of one convolution.
    """

    def __init__(self, conv: UpConv, dtype: torch.dtype) -> None:
        super().__init__()
        fewer = Conv(conv.in_channels, 4 * conv.out_channels, 2).requires_grad_(False)
        rows = [_halved(conv.weight.detach().float(), parity, 2) for parity in (0, 1)]
        fewer.weight.copy_(torch.cat([_halved(row, parity, 3) for row in rows for parity in (0, 1)]))
        assert conv.bias is not None and fewer.bias is not None
        fewer.bias.copy_(conv.bias.detach().repeat(4))
        self.conv = PackedConv(fewer, dtype)

    def forward(self, x: Tensor) -> Tensor:
        B, _, H, W = x.shape
        y = self.conv(x).view(B, 2, 2, -1, H + 1, W + 1)
        shape = B, y.shape[3], 2 * H, 2 * W
        out = torch.empty(shape, dtype=y.dtype, device=y.device, memory_format=torch.channels_last)
        for a in (0, 1):
            for b in (0, 1):
                out[:, :, a::2, b::2] = y[:, a, b, :, a : a + H, b : b + W]
        return out


def _halved(weight: Tensor, parity: int, axis: int) -> Tensor:
    """Three taps along `axis` as two: for an even output the last two see one value, for an odd one the first two."""
    first, middle, last = weight.unbind(axis)
    return torch.stack([first, middle + last] if parity == 0 else [first + middle, last], axis)


class PackedLinear(Packed):
    """`Linear` with weights in oneDNN's layout."""

    def __init__(self, linear: Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().to(dtype).contiguous())
        self.bias = nn.Parameter(linear.bias.detach().to(dtype, copy=True), requires_grad=False)

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        plain: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.default
        adding: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.binary
        x = x.to(self.bias.dtype)
        if add is None:
            return plain(x, self.weight, self.bias, "none", [], "")
        return adding(x, add.to(x.dtype), self.weight, self.bias, "add")

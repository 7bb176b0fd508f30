"""Linear layers prepared once for inference: weights cast, packed and fused with what follows them.

On a CPU, oneDNN reads weights in its own blocked layout two to three times faster than row-major ones. One call makes
the product, adds the bias and applies GELU or adds the residual. Every row of the result depends on that row of the
input alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.dtypes import packs
from pinxit.models.graph_capture import packed_products


class InferenceLinear(Protocol):
    """x [S, I] -> [S, O]; `add` [S, O] is added to the result."""

    weight: Tensor  # as it is stored
    bytes: int  # of weights that one call reads

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor: ...


def absorb(norm: nn.LayerNorm, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Fold the gain and bias of `norm` into the linear layer (weight, bias) that follows: apply to layer_norm(x)."""
    shift = weight.float() @ norm.bias.float()
    return weight.float() * norm.weight.float(), shift if bias is None else bias.float() + shift


def prepare(
    weight: Tensor, bias: Tensor, dtype: torch.dtype, gelu: bool = False, int8: bool = False
) -> InferenceLinear:
    """The fastest layer for `weight` [O, I] and `bias` [O] on their device; `int8` halves the weights read."""
    if int8:
        return Int8Linear(weight, bias, dtype, gelu)
    if packs(weight.device, dtype):
        return PackedLinear(weight, bias, dtype, gelu)
    return PlainLinear(weight, bias, dtype, gelu)


class PlainLinear:
    """`F.linear`, as it is."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, gelu: bool) -> None:
        self.weight, self.bias, self.gelu = (
            weight.detach().to(dtype, copy=True),
            bias.detach().to(dtype, copy=True),
            gelu,
        )
        self.bytes = self.weight.nbytes

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        y = F.gelu(y) if self.gelu else y
        return y if add is None else y + add


class PackedLinear:
    """oneDNN's product with weights in its own blocked layout."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, gelu: bool) -> None:
        weight = weight.detach().to(dtype).contiguous()
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.bias = bias.detach().to(dtype, copy=True)
        self.bytes = weight.nbytes
        self.plain = packed_products()[gelu]
        self.adding: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        if add is None:
            return self.plain(x, self.weight, self.bias)
        return self.adding(x, add, self.weight, self.bias, "add")


class Int8Linear:
    """Weights as int8 with one scale per output; results in `dtype`.

    On a CPU activations are bfloat16 inside, for which torch's kernel is many times faster than for float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, gelu: bool) -> None:
        scale = weight.detach().float().abs().amax(1).clamp(min=1e-12) / 127
        self.weight = (weight.detach().float() / scale[:, None]).round().to(torch.int8)
        self.inside = torch.bfloat16 if weight.device.type == "cpu" else dtype
        self.scale, self.bias, self.gelu = scale.to(self.inside), bias.detach().to(dtype, copy=True), gelu
        self.bytes = self.weight.nbytes

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        y = torch._weight_int8pack_mm(x.to(self.inside), self.weight, self.scale).to(x.dtype).add_(self.bias)
        y = F.gelu(y) if self.gelu else y
        return y if add is None else y.add_(add)

"""Weights as int8, from -127 to 127, with one float32 scale for each row of a matrix or kernel.

A row holds the weights of one output. Rounding adds noise of about a hundredth of the weights (bfloat16: a thousandth),
and files are half as large as in bfloat16. Vectors and small tensors stay in bfloat16: they take little space, and an
error of a hundredth in a gain would matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinxit.errors import CheckpointError

LEAST = 4096  # values; smaller tensors stay in bfloat16
SCALES = "int8_scales/"  # prefix of the scales' name, before that of their tensor
MOST = 127


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as int8 with their scales [rows], other floats as bfloat16, the rest as it is."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            result[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < LEAST:
            result[name] = tensor.to(torch.bfloat16)
        else:
            rows = tensor.float().flatten(1)
            scales = rows.abs().amax(1) / MOST
            steps = rows / scales.where(scales > 0, 1.0)[:, None]
            result[name] = steps.round().to(torch.int8).view(tensor.shape)
            result[SCALES + name] = scales
    return result


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `packed`, in float32 for int8. Raises CheckpointError for scales without a tensor that fits."""
    result = {name: tensor for name, tensor in stored.items() if not name.startswith(SCALES)}
    for name, scales in stored.items():
        if not name.startswith(SCALES):
            continue
        of = name.removeprefix(SCALES)
        if of not in result or result[of].dtype != torch.int8 or scales.shape != result[of].shape[:1]:
            raise CheckpointError(f"the scales {name} fit no stored tensor {of}; fetch the checkpoint again.")
        result[of] = result[of].float() * scales.view(-1, *[1] * (result[of].ndim - 1))
    return result

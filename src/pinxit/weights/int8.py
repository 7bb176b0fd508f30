"""Weights in a byte each: whole numbers from -127 to 127, with one float32 scale for each row of a matrix or kernel.

A row is what one output is made of. Rounding adds noise of about a hundredth of the weights (bfloat16: a thousandth),
and files are half as large. Vectors and small tensors stay in bfloat16: they are few, and a gain off by a hundredth
is felt.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pinxit.errors import CheckpointError

LEAST = 4096  # values; smaller tensors are not worth it
SCALES = "int8_scales/"  # in front of the name of the tensor that they belong to
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
    """The weights again, in float32 where they were packed. Raises CheckpointError for scales that fit no tensor."""
    result = {name: tensor for name, tensor in stored.items() if not name.startswith(SCALES)}
    for name, scales in stored.items():
        if not name.startswith(SCALES):
            continue
        of = name.removeprefix(SCALES)
        if of not in result or result[of].dtype != torch.int8 or scales.shape != result[of].shape[:1]:
            raise CheckpointError(f"the scales {name} fit no stored tensor {of}; fetch the checkpoint again.")
        result[of] = result[of].float() * scales.view(-1, *[1] * (result[of].ndim - 1))
    return result

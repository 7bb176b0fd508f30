"""In which type a device computes matrix products the fastest.

bfloat16 halves the memory traffic, and processors with instructions for it multiply it faster than float32. CPUs
without them, and GPUs before Ampere, emulate it: with AVX2 alone it is up to eighty times slower than float32
(docs/log.md).
"""

from __future__ import annotations

import torch


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, else float32. Of a GPU on a machine without one, bfloat16."""
    if device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    elif device.type == "cuda" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = True
    return torch.bfloat16 if native else torch.float32


def fast_products(
    device: torch.device, wanted: bool = True, *, cached: bool = True, native: bool = False
) -> torch.autocast:
    """Autocast: inside, matrix products of float32 weights are computed in `fastest_dtype`; in float32 if not `wanted`.

    `cached`: whether it may keep the bfloat16 copies of weights until the end of the block. `native`: in bfloat16
    also where that is slow, to count what another device would keep.
    """
    enabled = wanted and (native or fastest_dtype(device) == torch.bfloat16)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=cached)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN can store weights of that type on the device in its own layout: bfloat16 not on every CPU."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

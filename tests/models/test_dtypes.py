"""bfloat16 is computed where a device has instructions for it, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from pinxit.models.dtypes import fast_products, fastest_dtype, packs

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for avx512, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=avx512: answer)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda answer=amx: answer)
        assert fastest_dtype(CPU) == (torch.bfloat16 if avx512 or amx else torch.float32)


def test_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T4 computes in float32. Of GPUs that are elsewhere the plans of `pinxit plan` expect bfloat16."""
    assert torch.cuda.is_available() or fastest_dtype(CUDA) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for native in (False, True):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True, n=native: n or including_emulation
        )
        assert fastest_dtype(CUDA) == (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize("native", [False, True])
def test_products(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    """In bfloat16 only if native and wanted; and in float32 inside another's autocast, too."""
    monkeypatch.setattr("pinxit.models.dtypes.fastest_dtype", lambda device: (torch.float32, torch.bfloat16)[native])
    a = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    with fast_products(CPU):
        assert (a @ a).dtype == (torch.bfloat16 if native else torch.float32)
    with torch.autocast("cpu", torch.bfloat16), fast_products(CPU, False):
        assert (a @ a).dtype == torch.float32
    with fast_products(CPU, cached=False):
        assert not torch.is_autocast_cache_enabled()


def test_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    for supported in (False, True):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda answer=supported: answer)
        assert packs(CPU, torch.bfloat16) == supported and packs(CPU, torch.float32)
        assert not packs(CUDA, torch.float32)

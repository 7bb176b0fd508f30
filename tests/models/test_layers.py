from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pinxit.models.layers import attend


@pytest.mark.parametrize("causal", [False, True])
def test_short_attention_equals_the_fused_kernel(causal: bool) -> None:
    """Values and gradients."""
    qkv = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    q, k, v = qkv.unbind()
    fast, slow = attend(q, k, v, causal), F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    assert torch.allclose(fast, slow, atol=1e-6)
    weight = torch.arange(fast.numel()).view_as(fast) / fast.numel()
    one, other = (torch.autograd.grad((weight * y).sum(), qkv)[0] for y in (fast, slow))
    assert torch.allclose(one, other, atol=1e-6)

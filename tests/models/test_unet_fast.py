"""The U-Net made ready for sampling answers as the one it was made from."""

from __future__ import annotations

import pickle

import pytest
import torch

from pinxit.errors import UsageError
from pinxit.models.unet_fast import fast_unet
from tests.models.test_unet import ALL, PATCHED, call, given, small


@pytest.mark.parametrize("name", ALL)
def test_fast_equals_slow(name: str) -> None:
    net, told = small(ALL[name]), given(ALL[name])
    fast = fast_unet(net, torch.float32)
    with torch.inference_mode():
        for shown in (told, told, given(ALL[name], side=24, rows=3)):  # the weights are packed for the first shape
            torch.testing.assert_close(call(fast, **shown), call(net, **shown), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_bf16_is_near(name: str) -> None:
    """As near as the slow path in bf16; alone, and where the caller has autocast on."""
    net, told = small(ALL[name]), given(ALL[name])
    fast = fast_unet(net, torch.bfloat16)
    with torch.inference_mode():
        expected = call(net, **told)
        near = 0.05 * float(expected.std())
        found = call(fast, **told)
        assert found.dtype == torch.float32
        assert float((found - expected).abs().mean()) < near
        with torch.autocast("cpu", torch.bfloat16):
            assert float((call(fast, **told) - expected).abs().mean()) < near


@pytest.mark.parametrize("name", ALL)
def test_what_it_was_packed_for_changes_no_bit(name: str) -> None:
    """Guided pictures are twice the rows: one painted after them is the same as in a fresh process."""
    net, told = small(ALL[name]), given(ALL[name], rows=16)
    fresh, used = (fast_unet(net, torch.bfloat16) for _ in range(2))
    with torch.inference_mode():
        call(used, **given(ALL[name], rows=32))
        assert torch.equal(call(used, **told), call(fresh, **told))


@pytest.mark.parametrize("name", ALL)
def test_spent_weights_lie_in_memory_once(name: str) -> None:
    net, told = small(ALL[name]), given(ALL[name])
    kept, spent = fast_unet(net), fast_unet(net, spend=True)
    assert not list(net.parameters())
    with torch.inference_mode():
        assert torch.equal(call(spent, **told), call(kept, **told))


def test_packed_weights_stay_in_their_process() -> None:
    with pytest.raises(UsageError, match="open its checkpoint again"):
        pickle.dumps(fast_unet(small(PATCHED)))


def test_the_original_stays_as_it_was() -> None:
    net, told = small(PATCHED), given(PATCHED)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    fast = fast_unet(net)
    with torch.inference_mode():
        answer = call(fast, **told)
        assert net.training and not fast.training
        assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
        assert all(parameter.requires_grad for parameter in net.parameters())
        for parameter in net.parameters():
            parameter.zero_()
        assert torch.equal(call(fast, **told), answer)

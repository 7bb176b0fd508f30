from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pinxit.recipes.gpu_estimate import stages_of
from pinxit.training.activation_counter import ActivationCounter
from pinxit.training.flop_counter import FlopCounter
from pinxit.training.rows import all_rows


@pytest.mark.parametrize("name", ["dalle/nano", "clip/nano", "unclip/nano"])
def test_it_finds_what_torchs_own_counter_finds(name: str) -> None:
    """In convolutions, linear layers and their backward passes; torch has no formula for the CPU's own attention."""
    for stage in stages_of(name)[:2]:
        task, found = stage.build(), []
        for counter in (FlopCounterMode(display=False), FlopCounter()):
            with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH), counter:
                task.loss(task.blank(2), all_rows(0, 2))[0].backward()  # type: ignore[no-untyped-call]
            found.append(counter.flops if isinstance(counter, FlopCounter) else counter.get_total_flops())
        assert found[0] == found[1] > 1e6


def test_the_cpus_own_attention_is_two_products_forward_and_five_backward() -> None:
    query = torch.randn(2, 3, 8, 16, requires_grad=True)
    with FlopCounter() as counter:
        nn.functional.scaled_dot_product_attention(query, query, query).sum().backward()  # type: ignore[no-untyped-call]
    assert counter.flops == 7 * 2 * (2 * 3) * 8 * 8 * 16


def test_what_runs_before_and_after_is_not_counted() -> None:
    one = torch.ones(4, 4)
    with FlopCounter() as counter:
        pass
    one @ one
    assert counter.flops == 0


def test_what_is_kept_for_the_backward_pass_is_all_but_weights_and_what_is_made_of_them() -> None:
    weight = nn.Parameter(torch.ones(5, 4))
    with ActivationCounter([weight]) as counter:
        half, noise = weight.bfloat16(), torch.ones(3, 5, dtype=torch.bfloat16)  # made of nothing, which is no weight
        (noise @ half).float().square().sum()
    assert counter.bytes == 2 * 3 * 5 + 4 * 3 * 4

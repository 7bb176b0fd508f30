"""The two priors of unCLIP: what each slot may see, what no caption means, and the paper's size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.models.prior import DiffusionPrior, PriorConfig, TokenPrior, build_prior
from pinxit.models.prior_decoder import PriorDecoder
from pinxit.training.draws import seeded

CONFIG = PriorConfig(components=5, embed=8, text=6, length=4, width=16, layers=2, heads=2)
TOKENS = replace(CONFIG, buckets=7, dots=3)
HIDING = replace(CONFIG, pads="hidden", pooled="raw")
B = 3


def talking(config: PriorConfig) -> DiffusionPrior | TokenPrior:
    """With noise in its last layer, which begins at zero."""

    def build() -> DiffusionPrior | TokenPrior:
        net = build_prior(config)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return net

    return seeded(build, 0, "prior").double()


def caption(seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[True, True, False, False], [True, True, True, True], [True, False, False, False]])
    pooled = torch.randn(B, 8, generator=draw, dtype=torch.float64)
    sequence = torch.randn(B, 4, 6, generator=draw, dtype=torch.float64)
    return {"sequence": sequence, "mask": mask, "pooled": pooled / pooled.norm(dim=1, keepdim=True)}


def asked(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed + 10)
    return torch.randn(B, 5, generator=draw, dtype=torch.float64), torch.tensor([10.0, 500.0, 900.0])


def codes() -> tuple[Tensor, Tensor]:
    return torch.tensor([0, 1, 2]), torch.tensor([[0, 1, 2, 3, 4], [6, 5, 4, 3, 2], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("config", [CONFIG, HIDING])
def test_the_answer_hangs_on_every_slot_before_the_query(config: PriorConfig) -> None:
    prior, told, (x, time) = talking(config), caption(), asked()
    assert isinstance(prior, DiffusionPrior)
    leaves = {"sequence": told["sequence"].requires_grad_(), "pooled": told["pooled"].requires_grad_()}
    x.requires_grad_()
    prior(x, time, told | leaves).square().sum().backward()
    assert x.grad is not None and (x.grad.abs().sum(1) > 0).all()
    for leaf in leaves.values():
        assert leaf.grad is not None
    touched = leaves["sequence"].grad.abs().sum(2) > 0  # type: ignore[union-attr]
    assert torch.equal(touched, told["mask"]), "all the text counts, and no padding does"
    assert (leaves["pooled"].grad.abs().sum(1) > 0).all()  # type: ignore[union-attr]
    assert not torch.equal(prior(x, time, told), prior(x, time + 100, told))


def test_no_slot_of_the_trunk_sees_a_later_one() -> None:
    trunk = talking(CONFIG).trunk
    x = torch.randn(1, 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for place in range(8):
        (gradient,) = torch.autograd.grad(trunk(x)[0, place].square().sum(), x)
        seen = gradient[0].abs().sum(1) > 0
        assert seen.tolist() == [earlier <= place for earlier in range(8)]


@pytest.mark.parametrize("config", [CONFIG, TOKENS])
def test_without_a_caption_it_has_no_effect(config: PriorConfig) -> None:
    prior, one, other = talking(config), caption(), caption(1)
    nothing = {"mask": torch.zeros(B, 4, dtype=torch.bool)}

    def answer(told: dict[str, Tensor], dot: int = 0) -> Tensor:
        if isinstance(prior, DiffusionPrior):
            found: Tensor = prior(*asked(), told)
        else:
            found = prior(told, torch.full((B,), dot), codes()[1])
        return found

    assert torch.equal(answer(one | nothing), answer(other | nothing, dot=2))
    assert not torch.equal(answer(one), answer(other)) and not torch.equal(answer(one), answer(one | nothing))
    if config.buckets:
        assert not torch.equal(answer(one), answer(one, dot=2))


def test_hidden_pads_are_as_if_they_were_not_there() -> None:
    """A caption that leaves places free, and the same network without those places."""
    prior, told, (x, time) = talking(HIDING), caption(), asked()
    shorter = talking(replace(HIDING, length=2))
    state = prior.state_dict()
    state["trunk.positions"] = state["trunk.positions"][[0, 1, 4, 5, 6, 7]]
    shorter.load_state_dict(state)
    cut = told | {"sequence": told["sequence"][:, :2], "mask": told["mask"][:, :2]}
    torch.testing.assert_close(prior(x, time, told)[[0, 2]], shorter(x, time, cut)[[0, 2]])
    nothing = told | {"mask": torch.zeros(B, 4, dtype=torch.bool)}
    assert prior(x, time, nothing).isfinite().all()
    assert not torch.equal(prior(x, time, nothing), prior(x, time, nothing | {"pooled": -told["pooled"]}))


def test_a_raw_embedding_is_taken_as_it_is() -> None:
    """One of length one is scaled by the root of its width, and one that has a length of its own is not."""
    prior, told, (x, time) = talking(CONFIG), caption(), asked()
    raw = talking(replace(CONFIG, pooled="raw"))
    raw.load_state_dict(prior.state_dict())
    torch.testing.assert_close(raw(x, time, told | {"pooled": 8**0.5 * told["pooled"]}), prior(x, time, told))


def test_a_component_is_told_from_those_before_it_alone() -> None:
    prior, told, (dots, given) = talking(TOKENS), caption(), codes()
    assert isinstance(prior, TokenPrior)
    before = prior(told, dots, given)
    assert before.shape == (B, 5, 7) and before.dtype == torch.float32
    for place in range(5):
        changed = given.clone()
        changed[:, place] = (changed[:, place] + 1) % 7
        same = (prior(told, dots, changed) == before).flatten(2).all(2).all(0)
        assert same.tolist() == [k <= place for k in range(5)]


def test_one_at_a_time_is_the_same_as_all_at_once() -> None:
    prior, told, (dots, given) = talking(TOKENS), caption(), codes()
    assert isinstance(prior, TokenPrior)
    with torch.no_grad():
        expected = prior(told, dots, given)
        decoder = PriorDecoder(prior, told, dots)
        found = [decoder.logits, *(decoder.step(given[:, place]) for place in range(4))]
    torch.testing.assert_close(torch.stack(found, 1), expected)


def test_untrained_priors_answer_the_middle_and_any_bucket() -> None:
    plain = seeded(lambda: build_prior(CONFIG), 0, "prior"), seeded(lambda: build_prior(TOKENS), 0, "prior")
    assert isinstance(plain[0], DiffusionPrior) and isinstance(plain[1], TokenPrior)
    assert not plain[0](*asked(), caption()).any() and not plain[1](caption(), *codes()).any()


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (PriorConfig(1024, 1024, 2048, 256, 2048, 24, 32), 1.22e9),
        (PriorConfig(319, 1024, 2048, 63, 1664, 24, 26, 1024, 1024), 0.81e9),
    ],
)
def test_the_papers_sizes(config: PriorConfig, parameters: float) -> None:
    """Table 3: 1B each. The blocks alone: 24 (12 W^2 + 13 W)."""
    with torch.device("meta"):
        net = build_prior(config)
    blocks = sum(parameter.numel() for parameter in net.trunk.blocks.parameters())
    assert blocks == 24 * (12 * config.width**2 + 13 * config.width)
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(parameters, rel=0.01)


def test_what_cannot_be_is_refused() -> None:
    for changes, told in (
        ({"width": 18}, "multiple of twice its heads"),
        ({"layers": 0}, "prior.layers must be from 1 to 256, not 0"),
        ({"buckets": 7}, "must both be 0"),
        ({"buckets": 1, "dots": 3}, "0 or at least 2"),
        ({"buckets": 7, "dots": 3, "pads": "hidden"}, "pads=hidden is for diffusion priors"),
    ):
        with pytest.raises(UsageError, match=told):
            replace(CONFIG, **changes)
    prior, told_ = talking(CONFIG), caption()
    with pytest.raises(UsageError, match="this prior wants the condition 'pooled'"):
        prior(*asked(), {name: told_[name] for name in ("sequence", "mask")})
    with pytest.raises(UsageError, match=r"'pooled' has the shape \[7\] a sample; it must be \[8\]"):
        prior(*asked(), told_ | {"pooled": told_["pooled"][:, :7]})

"""Which timesteps stay, against published lists, and what becomes of the noise between them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinxit.errors import UsageError
from pinxit.functional.diffusion import betas, cumulative, sigma_of_abar
from pinxit.functional.respacing import NAMED, descending_sigmas, kept_timesteps, nearest_timestep

quick = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("name", NAMED)
def test_named_lists_equal_diffusers(name: str) -> None:
    theirs = pytest.importorskip("diffusers.pipelines.deepfloyd_if.timesteps")
    assert kept_timesteps(name, 1000)[::-1] == getattr(theirs, f"{name}_timesteps")
    assert len(kept_timesteps(name, 1000)) == int(name.lstrip("fastmrupe"))


def test_sections_hold_both_ends() -> None:
    assert kept_timesteps("3,2", 20) == [0, 4, 9, 10, 19]  # 4.5 rounds to the even 4, as the published code does
    assert kept_timesteps("2,2,1", 11) == [0, 3, 4, 7, 8]  # the rest of 11 / 3 goes to the first sections
    assert kept_timesteps("1000", 1000) == list(range(1000))


def test_strides() -> None:
    assert kept_timesteps("ddim25", 1000) == list(range(0, 1000, 40))
    assert kept_timesteps("ddim1", 1000) == [0]
    assert kept_timesteps("ddim334", 1000) == list(range(0, 1000, 3))


@pytest.mark.parametrize(
    ("spacing", "told"),
    [
        ("ddim333", "No whole stride"),
        ("11,10", "section 1"),
        ("ddim", "not understood"),
        ("10,,3", "not understood"),
        ("0", "not understood"),
        ("fast28", "not understood"),
        ("", "not understood"),
    ],
)
def test_what_cannot_be_kept_is_refused(spacing: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        kept_timesteps(spacing, 20)


@quick
@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_each_section_gives_as_many_as_asked(counts: list[int]) -> None:
    kept = kept_timesteps(",".join(map(str, counts)), 200)
    assert len(kept) == sum(counts)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert kept[-1] <= 199


def test_sigmas_of_kept_timesteps_and_back() -> None:
    sigma_T = sigma_of_abar(cumulative(betas("cosine")))
    kept = kept_timesteps("fast27", 1000)
    sigmas = descending_sigmas(sigma_T, kept)
    assert len(sigmas) == 28
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] == 0
    assert nearest_timestep(sigma_T, torch.tensor(sigmas[:-1], dtype=torch.float64)).tolist() == kept[::-1]
    assert nearest_timestep(sigma_T, torch.tensor([1e9, 0.0, 1e-9])).tolist() == [999, 0, 0]

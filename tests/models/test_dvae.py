"""The discrete VAE: the paper's size, the interface of all three quantisers, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pinxit.config import from_dict, to_dict
from pinxit.errors import UsageError
from pinxit.functional.draws import OneStream
from pinxit.functional.laplace import dvae_objective, mse, phi
from pinxit.functional.schedules import cosine
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.models.dvae_blocks import Block, Conv
from pinxit.models.dvae_quantisers import VectorQuantiser

SMALL: dict[str, Any] = {"size": 32, "channels": 16, "n_init": 12, "groups": 2, "blocks": 1, "patch": 4, "codes": 60}
KINDS: list[dict[str, Any]] = [
    {"quantiser": "gumbel"},
    {"quantiser": "vq", "code_dim": 6},
    {"quantiser": "vq", "code_dim": 6, "codebook_decay": 0.0},
    {"quantiser": "fsq", "levels": (5, 4, 3)},
    {"quantiser": "vq", "code_dim": 192, "shortcut": True},
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=["gumbel", "vq-mean", "vq-gradient", "fsq", "patches"])


def build(kind: dict[str, Any], **changes: Any) -> DVAE:
    return DVAE(DVAEConfig(**(SMALL | kind | changes)))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 2, size: int = 32) -> Tensor:
    """Flat grounds with one quarter of another colour each: something to learn."""
    generator, half = seeded(3), size // 2
    drawn = torch.rand(count, 3, 1, 1, generator=generator).repeat(1, 1, size, size)
    for i in range(count):
        top, left = i // 2 % 2 * half, i % 2 * half
        drawn[i, :, top : top + half, left : left + half] = torch.rand(3, 1, 1, generator=generator)
    return drawn


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_default_is_the_papers_to_the_parameter() -> None:
    with torch.device("meta"):
        model = DVAE(DVAEConfig())
    assert parameters(model.encoder) == 53_786_240
    assert parameters(model.decoder) == 43_829_766
    assert model.grid == 32
    assert model.encoder(torch.empty(1, 3, 256, 256, device="meta")).shape == (1, 8192, 32, 32)
    assert model.decoder(torch.empty(1, 128, 32, 32, device="meta")).shape == (1, 6, 256, 256)


def _gains(module: torch.nn.Module) -> set[float]:
    return {block.gain for block in module.modules() if isinstance(block, Block)}


def test_residual_gain_is_one_over_layers_squared() -> None:
    with torch.device("meta"):
        model = DVAE(DVAEConfig())
    assert _gains(model) == {1 / 64}
    halves = DVAE(DVAEConfig(**SMALL, decoder_blocks=2))  # each half counts its own layers
    assert [_gains(halves.encoder), _gains(halves.decoder)] == [{1 / 4}, {1 / 16}]
    assert _gains(build(KINDS[3], gain=0.5)) == {0.5}


def test_block_is_identity_plus_gain_times_residual() -> None:
    block = Block(8, 8, (3, 3, 3, 1), 0.25, seeded())
    x = torch.randn(1, 8, 5, 5, generator=seeded())
    h = x
    for conv in block.residual:
        h = conv(h.relu())
    torch.testing.assert_close(block(x), x + 0.25 * h)


def test_weights_start_with_the_stated_deviation_and_from_the_seed_alone() -> None:
    conv = Conv(64, 128, 3, seeded())
    assert float(conv.weight.detach().std()) == pytest.approx((64 * 9) ** -0.5, rel=0.02)
    assert not conv.bias.any()
    torch.manual_seed(1)
    first = build(KINDS[0]).state_dict()
    torch.manual_seed(2)
    assert all(torch.equal(v, first[k]) for k, v in build(KINDS[0]).state_dict().items())
    other = DVAE(DVAEConfig(**SMALL), seed=5).state_dict()
    assert not torch.equal(other["encoder.input.weight"], first["encoder.input.weight"])


@every_kind
def test_shapes_ranges_and_the_config_round_trip(kind: dict[str, Any]) -> None:
    model = build(kind).eval()
    out = model(pictures(), temperature=0.5, draws=OneStream(seeded()))
    assert out.mu.shape == out.ln_b.shape == (2, 3, 32, 32)
    assert out.kl.shape == (2,)
    assert out.commitment.shape == ()
    codes = model.encode_codes(pictures())
    assert codes.shape == (2, model.grid, model.grid) == (2, 4, 4)
    assert codes.dtype == torch.int64
    assert torch.equal(out.codes, codes)
    assert model.decode_codes(codes).shape == (2, 3, 32, 32)
    model.decoder.output.weight.data.mul_(1e4)
    glaring = model.decode_codes(codes)
    assert (float(glaring.min()), float(glaring.max())) == (0, 1)
    assert from_dict(DVAEConfig, to_dict(model.config)) == model.config


@every_kind
def test_hard_codes_decode_to_what_training_saw(kind: dict[str, Any]) -> None:
    """`forward` at zero temperature and `decode_codes(encode_codes(...))` are one reconstruction."""
    model = build(kind).eval()
    out = model(pictures(), temperature=1e-6)
    codes = model.encode_codes(pictures())
    error = mse(model.decode_codes(codes), out.mu.detach())
    assert torch.equal(model.reconstruct(pictures()), model.decode_codes(codes))
    assert float(error) < 1e-10


@every_kind
def test_every_parameter_gets_a_gradient(kind: dict[str, Any]) -> None:
    model = build(kind)
    if model.config.shortcut:  # starts at zero, which lets nothing through to the layers before it
        model.encoder.output.weight.data.fill_(0.01)
    out = model(pictures(), temperature=0.7, draws=OneStream(seeded()))
    (dvae_objective(pictures(), out.mu, out.ln_b, out.kl, beta=1.0) + out.commitment).backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@every_kind
def test_state_dict_round_trip(kind: dict[str, Any]) -> None:
    model = build(kind)
    model(pictures(), 1.0, OneStream(seeded()))  # moves the running codebook
    twin = DVAE(model.config, seed=9)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.encode_codes(pictures()), model.encode_codes(pictures()))
    codes = torch.arange(32).view(2, 4, 4)
    assert torch.equal(twin.decode_codes(codes), model.decode_codes(codes))


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[3]], ids=["gumbel", "vq", "fsq"])
def test_overfits_eight_pictures(kind: dict[str, Any]) -> None:
    model, shown = build(kind, size=16, patch=2, channels=32), pictures(8, 16)
    optimizer = torch.optim.Adam(model.parameters())
    draws = OneStream(seeded())
    for step in range(300):
        optimizer.param_groups[0]["lr"] = cosine(step, 4e-3, 0, 300)
        out = model(shown, temperature=cosine(step, 1, 0.1, 220), draws=draws)
        loss = 100 * mse(shown, out.mu) + out.commitment
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 19 and left(model, shown) < 0.4:
            break
    assert left(model, shown) < 0.4


def left(model: DVAE, shown: torch.Tensor) -> float:
    """The squared error of what codes give back, as a share of the least that it would be without the quarters."""
    model.eval()
    painted = model.decode_codes(model.encode_codes(shown))
    model.train()
    flat = shown.mean((2, 3), keepdim=True)
    return float((painted - shown).square().mean() / (flat - shown).square().mean())


def test_only_gumbel_has_a_kl_and_only_vq_a_commitment() -> None:
    outs = [build(kind)(pictures(), 1.0, OneStream(seeded())) for kind in KINDS]
    assert [bool((out.kl > 0).all()) for out in outs] == [True, False, False, False, False]
    assert [bool(out.commitment > 0) for out in outs] == [False, True, True, False, True]


def test_ln_b_floor_holds_softly() -> None:
    free, held = build(KINDS[3]), build(KINDS[3], ln_b_floor=-3.0)
    for model in (free, held):
        model.decoder.output.bias.data[6 * 8 :] = -20.0  # the half that becomes ln b, spread over the patch
    assert float(free(pictures(), 1.0).ln_b.detach().max()) < -10
    out = held(pictures(), 1.0)
    assert float(out.ln_b.detach().min()) >= -3.0
    held.decoder.output.bias.data[6 * 8 :] = 5.0
    assert float(held(pictures(), 1.0).ln_b.detach().mean()) == pytest.approx(5, abs=0.5)


def test_vq_codebook_follows_the_vectors_and_dead_codes_restart() -> None:
    model = build({"quantiser": "vq", "code_dim": 6}, codes=8).train()
    for seed in range(60):
        model(pictures(8), 1.0, OneStream(seeded(seed)))
    assert len(torch.unique(model.encode_codes(pictures(8)))) >= 6
    frozen = model.eval().quantiser.state_dict()["codebook"].clone()
    model(pictures(8), 1.0, OneStream(seeded()))
    assert torch.equal(model.quantiser.state_dict()["codebook"], frozen)


def test_shortcut_starts_as_k_means_of_patches() -> None:
    """With the networks silent, a picture's reconstruction is its patches' nearest codebook entries."""
    model, shown = build(KINDS[4]), pictures(8)
    model.decoder.output.weight.data.zero_()
    assert torch.equal(model._encoded(shown), torch.nn.functional.pixel_unshuffle(torch.logit(phi(shown)), 8))
    for seed in range(100, 130):
        model(shown, 1.0, OneStream(seeded(seed)))
    model.eval()
    assert len(torch.unique(model.encode_codes(shown))) == 16  # a ground and a quarter in each of the pictures
    assert float((model.decode_codes(model.encode_codes(shown)) - shown).square().mean()) < 1e-4


def test_bfloat16_autocast_keeps_the_relaxation_and_the_moments_exact() -> None:
    for kind in KINDS:
        model = build(kind)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(pictures(), 0.5, OneStream(seeded()))
            z = model.encoder(pictures())
        assert z.dtype == out.mu.dtype == out.ln_b.dtype == out.kl.dtype == torch.float32


def test_a_rectangle_of_any_multiple_is_fine_and_others_are_refused() -> None:
    model = build(KINDS[3])
    assert model.encode_codes(torch.rand(1, 3, 16, 40)).shape == (1, 2, 5)
    with pytest.raises(UsageError, match="multiple of 8"):
        model.encode_codes(torch.rand(1, 3, 30, 32))
    with pytest.raises(UsageError, match=r"0\.\.59"):
        model.decode_codes(torch.full((1, 4, 4), 60))
    with pytest.raises(UsageError, match="int64"):
        model.decode_codes(torch.zeros(1, 4, 4))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": 60}, "multiple of 8"),
        ({"channels": 18}, "multiple of 4"),
        ({"groups": 0}, "dvae.groups"),
        ({"decoder_blocks": 0}, "dvae.decoder_blocks"),
        ({"quantiser": "fsq", "levels": (5, 5)}, "multiply to codes"),
        ({"quantiser": "fsq"}, "multiply to codes"),
        ({"codes": 1}, "dvae.codes"),
        ({"quantiser": "vq", "shortcut": True, "code_dim": 48}, "code_dim 192"),
        ({"shortcut": True, "code_dim": 192}, "quantiser vq"),
    ],
)
def test_impossible_configs_are_one_sentence(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        DVAEConfig(**(SMALL | changes))


@every_kind
def test_code_vectors_are_what_the_decoder_sees(kind: dict[str, Any]) -> None:
    model = build(kind)
    codes = torch.randint(0, 60, (1, 4, 4), generator=seeded())
    vectors = model.code_vectors()
    assert vectors.shape == (model.config.codes, 12)
    seen = model.quantiser.embed(codes, model.decoder.input).detach()
    assert torch.allclose(vectors[codes[0]], seen[0].permute(1, 2, 0), atol=1e-6)


@pytest.mark.parametrize(("decay", "weight"), [(0.99, 0.25), (0.0, 1.25)])
def test_the_commitment_weighs_a_quarter(decay: float, weight: float) -> None:
    """van den Oord et al. 2017, equation 3, beta = 0.25; a codebook that learns by gradients pays its own part."""
    quantiser = VectorQuantiser(8, 4, decay, seeded()).eval()
    z = torch.randn(2, 4, 3, 3, generator=seeded(1))
    with torch.no_grad():
        out = quantiser(z, 1.0, None)
    assert float(out.commitment) == pytest.approx(weight * float((z - out.vectors).square().mean()), rel=1e-5)


def test_a_code_is_the_running_mean_of_the_vectors_it_was_chosen_for() -> None:
    """van den Oord et al. 2017, appendix A.1: counts and sums decay alike, and their ratio is the code."""
    quantiser = VectorQuantiser(2, 2, decay=0.75, generator=seeded())
    quantiser.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
    flat, codes = torch.tensor([[1.0, 3.0], [3.0, 1.0], [9.0, 9.0]]), torch.tensor([0, 0, 1])
    counts, sums = quantiser.counts.clone(), quantiser.sums.clone()
    quantiser._follow(flat, codes)
    torch.testing.assert_close(quantiser.counts, 0.75 * counts + 0.25 * torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(quantiser.sums, 0.75 * sums + 0.25 * torch.tensor([[4.0, 4.0], [9.0, 9.0]]))
    torch.testing.assert_close(quantiser.codebook, quantiser.sums / quantiser.counts[:, None])


def test_dead_codes_restart_at_what_is_served_worst() -> None:
    """Below 0.03 of an even share of the batch; a restarted code counts as a tenth of one, its sum as that much."""
    quantiser = VectorQuantiser(4, 2, decay=0.99, generator=seeded())
    flat = torch.tensor([[0.0, 0.0]] * 30 + [[9.0, 7.0]] * 10)
    share = len(flat) / 4
    quantiser.counts.copy_(torch.tensor([20.0, 0.031, 0.029, 19.0]) * torch.tensor([1, share, share, 1]))
    kept, errors = quantiser.codebook.clone(), flat.square().sum(1).view(1, 5, 8)
    quantiser._restart(flat, errors, None)
    assert torch.equal(quantiser.codebook, kept), "without draws nothing restarts"
    quantiser._restart(flat, errors, OneStream(seeded()))
    assert torch.equal(quantiser.codebook[[0, 1, 3]], kept[[0, 1, 3]])
    assert quantiser.codebook[2].tolist() == [9, 7], "zeros are served without error"
    assert quantiser.counts[2].item() == pytest.approx(0.1 * share)
    assert quantiser.sums[2].tolist() == pytest.approx([0.9 * share, 0.7 * share])

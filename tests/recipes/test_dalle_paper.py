"""The paper's preset has the published numbers (arXiv 2102.12092): sizes, schedules, optimisers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from pinxit.config import override
from pinxit.models.transformer import TokenTransformer
from pinxit.recipes.dalle.paper import paper
from pinxit.recipes.dalle.presets import nano
from pinxit.recipes.dalle.train_dvae import DVAETask
from pinxit.training.optim import learning_rate
from pinxit.training.rows import all_rows


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_twelve_billion_parameters() -> None:
    """12.0 B in attention and MLPs, as published; with the tables of embeddings and of outputs 12.29 B."""
    with torch.device("meta"):
        model = TokenTransformer(paper().transformer)
    matrices = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    assert matrices == 64 * (4 + 8) * 3968**2 == 12_092_178_432
    assert count(model.blocks) == matrices + 64 * 13 * 3968 == 12_095_479_808  # gains and biases
    words, codes, places = 16_384 + 256, 8_192, 256 + 32 + 32
    assert count(model.embed) == (1 + words + codes + places) * 3968
    assert model.text_head.shape == (16_384, 3968) and model.image_head.shape == (8_192, 3968)  # untied
    assert count(model) == 12_292_812_416


def test_a_stream_of_1280_predictions() -> None:
    config = paper()
    assert (config.transformer.dim, config.transformer.depth, config.transformer.heads) == (3968, 64, 62)
    assert (config.dvae.codes, config.vocab) == (8192, 16384)
    assert (config.transformer.text_tokens, config.transformer.image_tokens) == (256, 1024)
    kinds = config.transformer.kinds
    assert (kinds.count("row"), kinds.count("column"), kinds.count("conv")) == (47, 16, 1) and kinds[-1] == "conv"


def test_the_dvaes_schedules() -> None:
    """Appendix A.2, all cosine: KL weight over 5,000 updates, temperature over 150,000, rate over 1,200,000."""
    config = paper()
    small = replace(override(nano(), ["dvae.quantiser=gumbel", "dvae.levels=[]"]), noise=config.noise)
    task = DVAETask(small)

    def at(updates: int) -> tuple[float, float]:
        parts = task.loss(task.blank(1), all_rows(updates * 512, 1))[1]
        return float(parts["beta"]), float(parts["temperature"])

    assert [at(updates)[0] for updates in (0, 2_500, 5_000, 10_000)] == pytest.approx([0, 3.3, 6.6, 6.6])
    assert [at(updates)[1] for updates in (0, 75_000, 150_000, 200_000)] == pytest.approx([1, 0.53125, 1 / 16, 1 / 16])
    rates = [learning_rate(config.plans.dvae, updates * 512) for updates in (0, 600_000, 1_200_000, 3_000_000)]
    assert rates == pytest.approx([1e-4, (1e-4 + 1.25e-6) / 2, 1.25e-6, 1.25e-6])


def test_the_dvaes_optimiser() -> None:
    plan = paper().plans.dvae
    assert (plan.images, plan.batch) == (3_000_000 * 512, 512)
    assert (plan.betas, plan.eps, plan.decay, plan.ema, plan.ema_every) == ((0.9, 0.999), 1e-8, 1e-4, 0.999, 1)


def test_the_transformers_optimiser() -> None:
    """Appendix B.2; the rate that was halved by hand five times falls along a cosine to the same thirty-second."""
    plan = paper().plans.transformer
    assert (plan.images, plan.batch) == (430_000 * 1024, 1024)
    assert (plan.betas, plan.eps, plan.decay, plan.clip) == ((0.9, 0.96), 1e-8, 4.5e-2, 4.0)
    assert (plan.ema, plan.ema_every) == (0.99, 25)
    assert learning_rate(plan, 2_499 * 1024) == pytest.approx(4.5e-4 / 2)
    assert learning_rate(plan, 5_000 * 1024) == pytest.approx(4.5e-4)
    assert learning_rate(plan, plan.images) == pytest.approx(4.5e-4 / 32)


def test_what_the_paper_did_without() -> None:
    """Ten per cent BPE dropout, but no dropped captions, no guidance, no top-k; every picture drawn from all codes."""
    config = paper()
    assert (config.noise.bpe_dropout, config.noise.caption_drop, config.noise.reconstructed) == (0.1, 0.0, 0.0)
    assert (config.sampling.guidance, config.sampling.top_k, config.codebook_init, config.count_pads) == (
        1.0,
        0,
        False,
        False,
    )

"""A network that learns its variance: its loss by hand, its training, and a checkpoint of it that paints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.api import load
from pinxit.config import override
from pinxit.data.bank import Bank, build_bank
from pinxit.data.sources import open_source
from pinxit.errors import UsageError
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.inputs import signed
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.task import DiffusionTask
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.imagen.presets import nano
from pinxit.training.loop import fit
from pinxit.training.rows import all_rows
from tests.recipes.squares import write_squares

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen

T = 100
LEARNED = DiffusionConfig("eps", variance="learned", steps=T)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = tmp_path_factory.mktemp("squares")
    write_squares(folder)
    build_bank(open_source(str(folder), 16), 8, folder / "bank", 1, lambda *_: None)
    return Bank.open(folder / "bank")


def stage(diffusion: DiffusionConfig) -> StageConfig:
    """Without text: what is asked here hangs on none."""
    unet = replace(nano().stages[0].unet, text=0, context=0, outputs=6 if diffusion.variance == "learned" else 3)
    return StageConfig(16, unet, diffusion)


def recorded(task: DiffusionTask, position: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(loss, x0, z, time, answer) of a batch."""
    seen: list[Any] = []
    hook = task.unet.register_forward_hook(lambda _, given, answer: seen.append((*given[:2], answer)))
    batch = task.batch(all_rows(position, 8))
    loss = task.loss(batch, all_rows(position, 8))[0]
    hook.remove()
    return (loss, signed(batch["pictures"]), *seen[0])


def test_the_loss_by_hand(bank: Bank) -> None:
    """Noise, and the bound on the variance: DDPM's equations 6 and 7 and Improved DDPM's 15, from betas alone."""
    task = DiffusionTask("base", stage(LEARNED), 0, (6, 32), bank)
    for parameter in task.unet.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    loss, x0, z, time, answer = (tensor.detach().double() for tensor in recorded(task))
    f = [math.cos((k / T + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(T + 1)]
    beta = [min(1 - f[k + 1] / f[k], 0.999) for k in range(T)]
    abar = np.cumprod([1 - b for b in beta])
    expected = []
    for row in range(8):
        t = int(time[row])
        assert time[row] == t
        a, before, b = abar[t], abar[t - 1] if t else 1.0, beta[t]
        noise = (z[row] - math.sqrt(a) * x0[row]) / math.sqrt(1 - a)
        eps, fraction = answer[row].chunk(2)
        least = b * (1 - before) / (1 - a) if t else beta[1] * (1 - abar[0]) / (1 - abar[1])
        log_variance = (fraction + 1) / 2 * math.log(b) + (1 - fraction) / 2 * math.log(least)
        guess = (z[row] - math.sqrt(1 - a) * eps) / math.sqrt(a)
        mean, true = (
            math.sqrt(before) * b / (1 - a) * x + math.sqrt(1 - b) * (1 - before) / (1 - a) * z[row]
            for x in (guess, x0[row])
        )
        kl = 0.5 * (
            log_variance - math.log(least) - 1 + least / log_variance.exp() + (mean - true) ** 2 / log_variance.exp()
        )
        assert t > 0, "the likelihood of the last step has a test of its own"
        expected.append((eps - noise).square().mean() + kl.mean() / math.log(2) * T / 1000)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_the_bound_teaches_the_variance_and_the_squared_error_the_noise(bank: Bank) -> None:
    """The gradient of the noise's channels is that of a plain loss at the same steps."""
    task = DiffusionTask("base", stage(LEARNED), 0, (6, 32), bank)
    loss, x0, z, time, answer = recorded(task)
    (gradient,) = torch.autograd.grad(loss, answer)
    sigma = LEARNED.table.sigma[time.long()][:, None, None, None]
    noise = (z * (1 + sigma**2).sqrt() - x0) / sigma
    torch.testing.assert_close(
        gradient[:, :3].double(), 2 * (answer[:, :3] - noise) / noise.numel(), atol=1e-7, rtol=1e-3
    )
    assert gradient[:, 3:].abs().amax((1, 2, 3)).gt(0).all()


def test_it_is_learnt(bank: Bank, tmp_path: Path) -> None:
    """Both halves of the loss fall, and the variance leaves the middle between its bounds."""
    task = DiffusionTask("base", stage(LEARNED), 0, (6, 32), bank)
    plan = replace(nano().stages[0].plan, images=8 * 50, batch=8, lr=3e-3, warmup=80, ema=0.95, precision="fp32")

    def measured() -> tuple[float, float, float]:
        with torch.no_grad():
            rows = [recorded(task, 8 * k) for k in range(1000, 1008)]
        errors, totals, spread = [], [], []
        for loss, x0, z, time, answer in rows:
            sigma = LEARNED.table.sigma[time.long()][:, None, None, None]
            errors.append((answer[:, :3] - (z * (1 + sigma**2).sqrt() - x0) / sigma).square().mean())
            totals.append(loss)
            spread.append(answer[:, 3:].abs().mean())
        return tuple(float(torch.stack(values).mean()) for values in (errors, totals, spread))  # type: ignore[return-value]

    error, total, spread = measured()
    fit(task, plan, tmp_path, "cpu", progress=False)
    after, less, moved = measured()
    assert after < 0.5 * error and less - after < 0.7 * (total - error) and spread == 0 < 0.1 < moved


def test_the_denoiser_tells_noise_and_variance_apart() -> None:
    told = torch.cat([torch.full((1, 3, 16, 16), 0.25), torch.full((1, 3, 16, 16), -0.5)], 1)
    times: list[Tensor] = []

    def says(z: Tensor, time: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        times.append(time)
        return told

    denoiser = UNetDenoiser(says, LEARNED, 16, torch.device("cpu"), autocast=False)  # type: ignore[arg-type]
    sigma = LEARNED.table.sigma[[40]].float()
    found = denoiser(torch.ones(1, 3, 16, 16), sigma, {})
    assert found.fraction is not None and torch.equal(found.fraction, told[:, 3:]) and times[0].tolist() == [40]
    torch.testing.assert_close(found.x0, 1 - 0.25 * sigma[:, None, None, None].expand(1, 3, 16, 16))


def test_a_checkpoint_of_it_paints(tmp_path: Path) -> None:
    changes = [f'stages.base.diffusion={{"variance": "learned", "steps": {T}}}', "stages.base.unet.outputs=6"]
    folder = save_random_imagen(tmp_path / "learned", 0, *changes, "sampling.sampler=ancestral")
    painter = load(folder, device="cpu")
    assert isinstance(painter, ImagenPainter) and "spacing" in painter.defaults and "grid" not in painter.defaults
    drawn, again, other = (
        painter.paint("a red square", candidates=1, **settings)[0].picture
        for settings in ({"steps": 5}, {"steps": 5}, {"spacing": "2,3"})
    )
    assert np.array_equal(drawn, again) and not np.array_equal(drawn, other)
    usual = painter.defaults["steps"]
    assert painter.settled({"spacing": "4", "steps": usual})["spacing"] == "4", "the steps are its own"
    with pytest.raises(UsageError, match="steps or spacing, but not both"):
        painter.settled({"spacing": "4", "steps": usual + 1})
    painter.defaults["spacing"] = "4"  # as a config whose `sampling` has one
    for steps, spacing in ((usual, ""), (usual + 1, ""), (None, "4")):
        about = painter.settled({"steps": steps, "spacing": None})
        assert (about["steps"], about["spacing"]) == (steps or usual, spacing), "steps that are given are taken"
    with pytest.raises(UsageError, match="from 1 to 100"):
        painter.paint("a red square", candidates=1, steps=101)
    plain = override(painter.config, ["diffusion.variance=fixed", "unet.outputs=3"])
    assert plain.diffusion.steps == T  # a discrete schedule may have a fixed variance

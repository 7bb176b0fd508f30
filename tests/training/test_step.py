"""What one update takes from its plan, and which weights are looked at and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.training.loop import Batch, Plan, fit
from pinxit.training.muon import muon
from pinxit.training.optim import adamw
from pinxit.training.precision import place
from pinxit.training.rows import Rows
from tests.training.toy import Net, Toy, plan

WEIGHTS: dict[str, tuple[object, ...]] = {
    "images": (96,),
    "batch": (4,),
    "micro": (4,),
    "optimiser": ("muon",),
    "lora": (2,),
    "lr": (1e-3,),
    "final_lr": (1e-2,),
    "schedule": ("linear", "constant"),
    "decay_horizon": (64,),
    "warmup": (64,),
    "betas": ((0.5, 0.999), (0.9, 0.9)),
    "eps": (1e-2,),
    "decay": (0.5,),
    "clip": (0.1,),
    "precision": ("bf16",),
}
"""Fields whose other values lead to other weights."""
AVERAGES: dict[str, tuple[object, ...]] = {"ema": (0.2, 0.0), "ema_every": (1,)}
"""Those that change the averaged weights alone."""
ELSEWHERE = {"log_every", "preview_every", "save_minutes", "channels_last", "compile", "shard", "recompute"}
"""Those that change no weights: the tests below, test_optim.py of compiling, test_sharding.py and test_recompute.py."""


def trained(folder: Path, task: Toy | None = None, until: int | None = None, **changes: Any) -> dict[str, Tensor]:
    fit(task or Toy(), plan(**changes), folder, "cpu", progress=False, stop_after=until)
    return load_file(folder / states.FILE)


class Wide(Toy):
    """With a matrix that is large enough for Muon."""

    def __init__(self) -> None:
        super().__init__()
        self.net.first, self.net.second = nn.Linear(8, 64), nn.Linear(64, 4)
        torch.manual_seed(0)
        self.net.middle_layer = nn.Linear(64, 64)
        for parameter in self.net.parameters():
            nn.init.normal_(parameter, std=0.2)
        self.net.second = nn.Sequential(self.net.middle_layer, self.net.second)  # type: ignore[assignment]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return trained(tmp_path_factory.mktemp("usual"), Wide())


def differ(one: Mapping[str, Tensor], other: Mapping[str, Tensor], kind: str) -> bool:
    names = [name for name in one.keys() | other.keys() if name.startswith(kind)]
    return any(name not in one or name not in other or not torch.equal(one[name], other[name]) for name in names)


def test_every_field_of_a_plan_has_a_row() -> None:
    assert {field.name for field in fields(Plan)} == WEIGHTS.keys() | AVERAGES.keys() | ELSEWHERE


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in (WEIGHTS | AVERAGES).items() for value in values]
)
@pytest.mark.usefixtures("native_bf16")
def test_every_field_of_a_plan_is_heeded(usual: dict[str, Tensor], tmp_path: Path, name: str, value: Any) -> None:
    found = trained(tmp_path, Wide(), **{name: value})
    assert differ(found, usual, "weights/") == (name in WEIGHTS)
    assert differ(found, usual, "average/")


def test_bfloat16_that_would_be_emulated_is_float32(
    usual: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert not differ(trained(tmp_path, Wide(), precision="bf16"), usual, "weights/")


def test_logs_previews_and_saves_come_as_often_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[tuple[int, int, int]] = []
    asked: tuple[dict[str, Any], ...] = ({}, {"log_every": 32, "preview_every": 16, "save_minutes": 0.0})
    for changes in asked:
        shown: list[int] = []
        saved: list[int] = []
        with monkeypatch.context() as spy:
            spy.setattr(Toy, "preview", lambda self, shown=shown: shown.append(1))
            save = states.State.save
            spy.setattr(states.State, "save", lambda *args, saved=saved, save=save: (saved.append(1), save(*args)))
            trained(tmp_path / str(len(counts)), **({"preview_every": 64} | changes))
        counts.append((len(read_metrics(tmp_path / str(len(counts)))), len(shown), len(saved)))
    assert counts == [(16, 2, 2), (4, 8, 18)]


def test_kernels_lie_as_the_plan_says() -> None:
    for last in (False, True):
        kernel = nn.Conv2d(4, 4, 3)
        place({"net": kernel}, plan(channels_last=last), torch.device("cpu"))
        assert kernel.weight.is_contiguous(memory_format=torch.channels_last) == last and kernel.training


def test_adam_has_the_plans_numbers() -> None:
    about = plan(betas=(0.5, 0.6), eps=1e-3, lr=0.1, decay=0.3)
    for made in (adamw({"net": Net()}, about), muon({"net": Net()}, about).rest):
        for group in made.param_groups:
            assert (tuple(group["betas"]), group["eps"], group["lr"]) == ((0.5, 0.6), 1e-3, 0.1)


class Halves(Toy):
    """Losses know where they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.positions: list[int] = []

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        self.positions.append(rows.position)
        self.net.eval()  # the buffer would see other batches
        return super().loss(batch, rows)


def test_pieces_of_a_batch_have_the_wholes_loss_and_gradient(tmp_path: Path) -> None:
    lines, tasks = [], {}
    for micro in (0, 2):
        task = tasks[micro] = Halves()
        trained(tmp_path / str(micro), task, until=16, micro=micro, clip=0.0)
        lines.append(read_metrics(tmp_path / str(micro)))
    for full, pieces in zip(*lines, strict=True):
        assert pieces["loss"] == pytest.approx(full["loss"], rel=1e-4)
        assert pieces["grad_norm"] == pytest.approx(full["grad_norm"], rel=1e-4)
    assert tasks[0].positions[-2:] == [0, 8] and tasks[2].positions[-8:] == [0, 2, 4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize("clip", [0.0, 0.25, 1e6])
def test_gradients_are_clipped_to_the_length_that_is_asked_for(tmp_path: Path, clip: float) -> None:
    """Adam's first average is a tenth of the first gradient."""
    found = trained(tmp_path, until=8, clip=clip)
    length = 10 * torch.stack([t.norm() for name, t in found.items() if "exp_avg/" in name]).norm()
    full = read_metrics(tmp_path)[-1]["grad_norm"]
    assert full > 0.3 and float(length) == pytest.approx(0.25 if clip == 0.25 else full, rel=1e-4)


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_averaged_weights_are_shown_scored_and_kept_and_the_last_ones_where_there_are_none(
    tmp_path: Path, ema: float
) -> None:
    class Shown(Toy):
        def preview(self) -> None:
            self.seen = self.net.first.weight.detach().clone()

        def scores(self) -> dict[str, float]:
            return {"scored": float(self.net.first.weight.detach().double().sum())}

    task = Shown()
    found = trained(tmp_path, task, ema=ema)
    expected, other = (found.get(f"{kind}/net/first.weight") for kind in ("average", "weights"))
    if ema:
        assert expected is not None and other is not None and not torch.equal(expected, other)
    else:
        assert expected is None
        expected = other
    assert expected is not None and task.seen is not None and torch.equal(task.seen, expected)
    assert read_metrics(tmp_path)[-1]["scored"] == pytest.approx(float(expected.double().sum()), rel=1e-4)
    assert torch.equal(states.read_weights(tmp_path, "net")["first.weight"], expected)
    assert other is not None and torch.equal(task.net.first.weight, other), "training goes on from the last ones"

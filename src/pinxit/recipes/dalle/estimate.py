"""What a run will cost before it starts: `pinxit train dalle --dry-run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from pinxit.recipes.clip.task import ClipTask
from pinxit.recipes.dalle.presets import DalleConfig
from pinxit.recipes.dalle.ranker import ranker
from pinxit.recipes.dalle.run import TRAINED
from pinxit.recipes.dalle.train_dvae import DVAETask
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.training.flops import Cost, matrix_rate, measure
from pinxit.training.log import duration, read_metrics
from pinxit.training.plan import Batch, Plan
from pinxit.training.precision import pick_device

USUAL_SHARE = 0.5  # of the matrix rate, where nothing has been measured yet
TASKS: dict[str, Callable[[DalleConfig], DVAETask | TransformerTask | ClipTask]] = {
    "dvae": DVAETask,
    "transformer": TransformerTask,
    "clip": lambda config: ClipTask(ranker(config)),
}


@dataclass(frozen=True)
class Estimate:
    """One stage that trains."""

    stage: str
    plan: Plan
    cost: Cost
    rate: float  # operations per second of a large matrix product on this machine
    share: float  # of that rate, as this run has measured it or as is usual
    measured: bool

    @property
    def seconds(self) -> float:
        """How long the whole stage takes here."""
        return self.plan.images * self.cost.flops / (self.rate * self.share)


def estimates(config: DalleConfig, device: str, folder: Path | None = None) -> Iterator[Estimate]:
    """What each stage costs on this machine; `folder` is a run whose own speed is used where it has been logged."""
    on = pick_device(device)
    for stage in TRAINED:
        plan: Plan = getattr(config.plans, stage)
        lines = read_metrics(folder / stage) if folder is not None else []
        shares = sorted(line["share"] for line in lines if line.get("share"))
        share = shares[len(shares) // 2] if shares else USUAL_SHARE
        rate = matrix_rate(plan.precision, on.type)
        yield Estimate(stage, plan, stage_cost(config, stage, on), rate, share, bool(shares))


def stage_cost(config: DalleConfig, stage: str, device: torch.device) -> Cost:
    """Parameters, operations and activations of a stage, found by a step on tensors that have shapes but no data."""
    plan: Plan = getattr(config.plans, stage)
    with torch.device("meta"):
        task = TASKS[stage](config)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for module in task.modules().values():
            _without_data(module, mode, device)
            module.train()
        batch: Batch = {name: FakeTensor(mode, t.to("meta"), device) for name, t in task.blank(4).items()}
        return measure(task, batch, plan, device)


def table(config: DalleConfig, device: str, folder: Path | None = None) -> str:
    """The estimates as plain text, one line a stage, and a line for the disk."""
    heads = ("stage", "parameters", "GFLOP/picture", "pictures", "memory", "share", "time")
    rows = [heads]
    seconds = 0.0
    for one in estimates(config, device, folder):
        seconds += one.seconds
        share = f"{one.share:.0%} {'measured' if one.measured else 'assumed'}"
        memory = f"{one.cost.memory(one.plan) / 2**30:,.1f} GiB"
        flops = f"{one.cost.flops / 1e9:,.3g}" if one.cost.flops < 1e12 else f"{one.cost.flops / 1e9:,.0f}"
        counts = (f"{one.cost.parameters:,}", flops, f"{one.plan.images:,}")
        rows.append((one.stage, *counts, memory, share, duration(one.seconds)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, *_notes(config, device, seconds)])


def _notes(config: DalleConfig, device: str, seconds: float) -> list[str]:
    data, on = config.data, pick_device(device)
    rate = matrix_rate(config.plans.transformer.precision, on.type)
    stored = (data.pictures + data.ranking) * data.size**2 * 3
    return [
        f"all stages: {duration(seconds)}; large matrix products run at {rate / 1e9:,.0f} GFLOP/s here ({on.type})",
        f"disk: {stored / 2**30:,.1f} GiB for {data.pictures + data.ranking:,} stored pictures of {data.source}",
        "GFLOP/picture: forward and backward; memory: weights, gradients, Adam, average and activations",
    ]


def _without_data(module: nn.Module, mode: FakeTensorMode, device: torch.device) -> None:
    """Replace every parameter and buffer by a tensor that has a shape and a place but holds nothing."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                empty = FakeTensor(mode, parameter.detach().to("meta"), device)
                part._parameters[name] = nn.Parameter(empty, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = FakeTensor(mode, buffer.to("meta"), device)

"""Estimates a run's time and memory before it starts: the common part of every `pinxit train ... --dry-run`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from pinxit.data.sources import open_source
from pinxit.training.flops import Cost, matrix_rate, measure
from pinxit.training.log import duration, read_metrics
from pinxit.training.lora import adapt
from pinxit.training.plan import Batch, Plan, Task
from pinxit.training.precision import pick_device, product_dtype
from pinxit.training.recompute import recompute

USUAL_SHARE = 0.5  # assumed share of the matrix rate, where nothing has been measured yet
SAMPLE = 20  # pictures in the step that is traced: operations on a share of them round to whole pictures, so not 1


class EstimableTask(Task, Protocol):
    """A task that can give a batch of the right shapes without any data.

    It may also have a method `frozen() -> list[nn.Module]`: modules that its loss runs but does not train.
    """

    def blank(self, size: int) -> Batch:
        """A batch of the right shapes."""
        ...


@dataclass(frozen=True)
class Stage:
    """One stage that trains: its folder's name, its plan, and how its task is built."""

    name: str
    plan: Plan
    build: Callable[[], EstimableTask]
    lacks: Callable[[Task], Collection[str]] = lambda task: ()  # weights that are trained themselves beside a LoRA
    piece: str = "plan.micro"  # the setting of the rows in memory at a time


@dataclass(frozen=True)
class Estimate:
    """The cost of a stage on this machine."""

    stage: Stage
    cost: Cost
    rate: float  # operations per second of a large matrix product on this machine
    share: float  # of that rate which training reaches
    measured: bool  # whether `share` comes from this run's log, or is USUAL_SHARE

    @property
    def seconds(self) -> float:
        """How long the whole stage takes on this machine."""
        return self.stage.plan.images * self.cost.flops / (self.rate * self.share)


def estimates(stages: Sequence[Stage], device: str, folder: Path | None = None) -> Iterator[Estimate]:
    """The cost of each stage on this machine; `folder` is a run whose logged speed is used where there is one."""
    on = pick_device(device)
    for stage in stages:
        lines = read_metrics(folder / stage.name) if folder is not None else []
        shares = sorted(line["share"] for line in lines if line.get("share"))
        share = shares[len(shares) // 2] if shares else USUAL_SHARE
        dtype = product_dtype(stage.plan, on)
        if dtype == torch.float32:  # then there are no copies in bf16
            stage = replace(stage, plan=replace(stage.plan, precision="fp32"))
        rate = matrix_rate(dtype, on.type)
        yield Estimate(stage, cost_of(stage, on), rate, share, bool(shares))


def cost_of(stage: Stage, device: torch.device, native: bool = False) -> Cost:
    """Parameters, operations and activations of a stage, traced by one step on fake tensors (shapes without data).

    `native`: as on a device that multiplies bf16, whatever this one does.
    """
    with torch.device("meta"):
        task = stage.build()
    if stage.plan.lora:
        adapt(task.modules(), stage.plan.lora, stage.lacks(task))
    if stage.plan.recompute:
        recompute(task.modules())
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    frozen: list[nn.Module] = getattr(task, "frozen", list)()
    for module in (*task.modules().values(), *frozen):
        _without_data(module, mode, device)
        module.eval()  # the same operations, but a codebook is not updated from vectors that have no values
    with mode:
        batch: Batch = {name: FakeTensor(mode, t.to("meta"), device) for name, t in task.blank(SAMPLE).items()}
        return measure(task, batch, stage.plan, device, native)


def bank_size(source: str, size: int, asked: int) -> int:
    """How many pictures of a source a bank will hold when `asked` are requested. Raises what `open_source` does."""
    return min(asked, len(open_source(source, size)))


def table(stages: Sequence[Stage], stored: dict[int, int], device: str, folder: Path | None = None) -> str:
    """The estimates as plain text, a line for each of `stages`, then notes.

    `stored`: the number of pictures that will be stored, by their side; without any, disk space is left out.
    """
    rows: list[tuple[str, ...]] = [(*COUNTED, "memory", "share", "time")]
    seconds = 0.0
    for one in estimates(stages, device, folder):
        plan, seconds = one.stage.plan, seconds + one.seconds
        share = f"{one.share:.0%} {'measured' if one.measured else 'assumed'}"
        memory = f"{one.cost.memory(plan) / 2**30:,.1f} GiB"
        rows.append((*counts(one.stage, one.cost), memory, share, duration(one.seconds)))
    training = [*aligned(rows), *_speed(stages[-1].plan, device, seconds)] if stages else []
    return "\n".join([*training, *_disk(stored)]) or "no stage that was asked for trains or stores pictures"


COUNTED = ("stage", "parameters", "GFLOP/picture", "pictures")  # the headings of `counts`


def counts(stage: Stage, cost: Cost) -> tuple[str, ...]:
    """The first cells of a stage's row, which no machine changes."""
    flops = f"{cost.flops / 1e9:,.3g}" if cost.flops < 1e12 else f"{cost.flops / 1e9:,.0f}"
    return stage.name, f"{cost.parameters:,}", flops, f"{stage.plan.images:,}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines, their cells aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _speed(plan: Plan, device: str, seconds: float) -> list[str]:
    on = pick_device(device)
    rate = matrix_rate(product_dtype(plan, on), on.type)
    return [
        f"in all: {duration(seconds)}; large matrix products run at {rate / 1e9:,.0f} GFLOP/s here ({on.type})",
        "GFLOP/picture: forward and backward; memory: weights, gradients, Adam, average and activations",
    ]


def _disk(stored: dict[int, int]) -> list[str]:
    size = sum(count * side**2 * 3 for side, count in stored.items())
    return [f"disk: {size / 2**30:,.1f} GiB for {sum(stored.values()):,} stored pictures"] if size else []


def _without_data(module: nn.Module, mode: FakeTensorMode, device: torch.device) -> None:
    """Replace every parameter and buffer by a fake tensor, which has a shape and a device but no data."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                empty = FakeTensor(mode, parameter.detach().to("meta"), device)
                part._parameters[name] = nn.Parameter(empty, parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = FakeTensor(mode, buffer.to("meta"), device)

"""What `pinxit plan` foretells beside what training takes: `python benchmarks/plan.py dalle/tiny clip/tiny`.

Of every stage of the presets some updates are made by the real loop, on batches without pictures (`blank`), so that
nothing but the step is timed. The share of the machine's matrix rate that the first third of them reaches, as a log
tells it, is what `plan` is given for all of them. A line each: planned and measured seconds and their ratio; the last
line is JSON. `--set` changes the presets, `--stage` takes some stages alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from pinxit.recipes.estimate import EstimableTask, Stage
from pinxit.recipes.gpu_estimate import GpuSpecs, gpu_estimates, stages_of
from pinxit.training.flops import matrix_rate
from pinxit.training.log import read_metrics
from pinxit.training.loop import fit
from pinxit.training.plan import Batch
from pinxit.training.precision import product_dtype
from pinxit.training.rows import Rows


class Blank:
    """A task without data: batches of the right shapes, nothing to see."""

    def __init__(self, task: EstimableTask) -> None:
        self.task, self.name = task, task.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, rows: Rows) -> Batch:
        return self.task.blank(rows.count)

    def preview(self) -> None:
        return None

    def scores(self) -> dict[str, float]:
        return {}


def measured(stage: Stage, updates: int, folder: Path) -> tuple[float, float]:
    """The share of the first third of `updates`, and the seconds of the others."""
    plan = replace(stage.plan, images=updates * stage.plan.batch, log_every=stage.plan.batch, preview_every=2**40)
    task: Any = Blank(stage.build())
    fit(task, replace(plan, save_minutes=60.0), folder, "cpu", progress=False)
    lines = read_metrics(folder)
    first = updates // 3
    seconds = [after["seconds"] - before["seconds"] for before, after in pairwise(lines)]
    share = statistics.median(float(line["share"]) for line in lines[1 : first + 1])  # the first update warms up
    return share, sum(seconds[first:]) * (updates - first) / len(seconds[first:])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--stage", action="append", default=[])
    parser.add_argument("--updates", type=int, default=24)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    asked = parser.parse_args(arguments)
    if asked.updates < 3:
        parser.error(f"--updates {asked.updates}: three at least, as the first third tells the speed of the others")
    ratios = {}
    for preset in asked.presets:
        for stage in stages_of(preset, asked.changes):
            if asked.stage and stage.name not in asked.stage:
                continue
            with tempfile.TemporaryDirectory() as place:
                share, seconds = measured(stage, asked.updates, Path(place))
            count = (asked.updates - asked.updates // 3) * stage.plan.batch
            rate = matrix_rate(product_dtype(stage.plan, torch.device("cpu")), "cpu")
            shorter = replace(stage, plan=replace(stage.plan, images=count))
            planned = next(gpu_estimates([shorter], 1, GpuSpecs(rate, rate, 1e12), share)).seconds
            ratios[f"{preset} {stage.name}"] = planned / seconds
            told = f"planned {planned:.2f} s, measured {seconds:.2f} s, ratio {planned / seconds:.3f}"
            print(f"{preset} {stage.name}: {told}, {share:.1%} of {rate / 1e9:.0f} GFLOP/s", flush=True)
    print(json.dumps({"threads": torch.get_num_threads(), "ratios": ratios}))


if __name__ == "__main__":
    main()

"""`pinxit plan`: estimates a preset's time and memory on GPUs that this machine need not have.

Every rank holds the whole model and its share of the batch (`training.parallel`): more GPUs divide the work and the
activations, and the weights only with `plan.shard` (`training.sharding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from pinxit.config import override
from pinxit.errors import UsageError
from pinxit.recipes.clip import presets as clip
from pinxit.recipes.clip.task import ClipTask
from pinxit.recipes.dalle import estimate as dalle_costs
from pinxit.recipes.dalle import presets as dalle
from pinxit.recipes.dalle.run import TRAINED
from pinxit.recipes.estimate import COUNTED, Stage, aligned, cost_of, counts
from pinxit.recipes.imagen import estimate as imagen_costs
from pinxit.recipes.imagen import presets as imagen
from pinxit.recipes.unclip import estimate as unclip_costs
from pinxit.recipes.unclip import presets as unclip
from pinxit.recipes.unclip.config import DECODER, UnclipConfig
from pinxit.training.flops import Cost
from pinxit.training.log import duration
from pinxit.training.parallel import rows_together


@dataclass(frozen=True)
class GpuSpecs:
    """Figures of a GPU from its data sheet."""

    bf16: float  # dense bfloat16 matrix products, operations per second; 0: it has none, so plans are run in fp32
    fp32: float  # the same for float32; without TF32, which pinxit never switches on for them
    bytes: float  # memory


GPUS = {
    "v100": GpuSpecs(0.0, 15.7e12, 32e9),
    "a100": GpuSpecs(312e12, 19.5e12, 80e9),
    "h100": GpuSpecs(989e12, 67e12, 80e9),
    "h200": GpuSpecs(989e12, 67e12, 141e9),
    "b200": GpuSpecs(2250e12, 75e12, 180e9),
    "l40s": GpuSpecs(362e12, 91.6e12, 48e9),
    "rtx4090": GpuSpecs(165e12, 82.6e12, 24e9),
}
"""From NVIDIA's data sheets, without sparsity."""
USUAL = 0.35  # assumed share of the peak, where nobody has measured


@dataclass(frozen=True)
class GpuEstimate:
    """The estimate of one stage on N GPUs."""

    stage: Stage
    cost: Cost
    rows: int  # of the batch that a rank's modules take at once
    bytes: float  # memory of a rank
    seconds: float  # for the whole stage


def stages_of(name: str, changes: Sequence[str] = ()) -> list[Stage]:
    """The trained stages of a preset RECIPE/NAME such as imagen/paper. Raises UsageError where there is none."""
    recipe, _, chosen = name.partition("/")
    if recipe not in RECIPES:
        raise UsageError(f"name a preset as RECIPE/NAME, with RECIPE of {', '.join(RECIPES)}, not '{name}'.")
    preset, stages = RECIPES[recipe]
    return [stage for stage in stages(override(preset(chosen or "paper"), list(changes))) if stage.plan.images]


def gpu_estimates(stages: Sequence[Stage], gpus: int, kind: GpuSpecs, share: float = USUAL) -> Iterator[GpuEstimate]:
    """Each stage on `gpus`, at `share` of their peak. Raises UsageError for a batch that cannot be split among them."""
    for stage in stages:
        rows = rows_together(stage.plan, gpus, stage.piece)
        if not kind.bf16:
            stage = replace(stage, plan=replace(stage.plan, precision="fp32"))
        own = replace(stage, plan=replace(stage.plan, micro=rows, batch=stage.plan.batch // gpus))  # a rank's
        cost = cost_of(own, torch.device("cpu"), native=True)
        peak = kind.bf16 if stage.plan.precision == "bf16" else kind.fp32
        seconds = stage.plan.images * cost.flops / (gpus * peak * share)
        yield GpuEstimate(stage, cost, rows, cost.memory(own.plan, gpus), seconds)


def table(name: str, gpus: int, kind: str, share: float | None = None, changes: Sequence[str] = ()) -> list[str]:
    """The estimates of a preset as lines of text. Raises UsageError for a preset or a GPU that is not known."""
    if kind not in GPUS:
        raise UsageError(f"there are no figures of a GPU '{kind}'; choose from {', '.join(GPUS)}.")
    about = GPUS[kind]
    reached = USUAL if share is None else share
    found = list(gpu_estimates(stages_of(name, changes), gpus, about, reached))
    rows: list[tuple[str, ...]] = [(*COUNTED, "rows/piece", "GiB/rank", "time")]
    rows += [
        (*counts(one.stage, one.cost), f"{one.rows}", f"{one.bytes / 2**30:,.1f}", duration(one.seconds))
        for one in found
    ]
    lines = aligned(rows)
    lines.append(
        f"in all: {duration(sum(one.seconds for one in found))} on {gpus} x {kind} at {reached:.0%} of the peak"
        + (", which is assumed" if share is None else "")
    )
    lines += [
        f"{one.stage.name}: more than the {about.bytes / 2**30:.0f} GiB of one {kind}; {_advice(one)}"
        for one in found
        if one.bytes > about.bytes
    ]
    return lines


def _advice(one: GpuEstimate) -> str:
    """What is left to try for a stage that does not fit."""
    plan = one.stage.plan
    left = {
        one.stage.piece: one.rows > 1,
        "plan.recompute=true": not plan.recompute,
        "plan.shard=true (on several)": not plan.shard,
    }
    names = [name for name, helps in left.items() if helps]
    return f"set {' or '.join(names)}" if names else "take more GPUs"


def _clip_stages(config: clip.ClipRunConfig) -> list[Stage]:
    training = config.training
    piece = training.piece if config.plan.batch % (training.piece or 1) == 0 else 0
    return [Stage("clip", replace(config.plan, micro=piece), partial(ClipTask, training), piece="piece")]


def _unclip_stages(config: UnclipConfig) -> list[Stage]:
    names = (*(one.name for one in config.priors), DECODER, *(one.name for one in config.upsamplers))
    return [unclip_costs.stage(config, name) for name in names]


RECIPES: dict[str, tuple[Callable[[str], Any], Callable[[Any], list[Stage]]]] = {
    "clip": (clip.preset, _clip_stages),
    "dalle": (dalle.preset, lambda config: [dalle_costs.stage(config, name) for name in TRAINED]),
    "imagen": (imagen.preset, lambda config: [imagen_costs.stage(config, name) for name in config.cascade]),
    "unclip": (unclip.preset, _unclip_stages),
}

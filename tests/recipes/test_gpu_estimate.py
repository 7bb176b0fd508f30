"""`pinxit plan`: its bytes are those that training allocates, its work is that of one process."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pinxit.errors import UsageError
from pinxit.recipes import gpu_estimate
from pinxit.recipes.estimate import Stage, cost_of, estimates
from pinxit.recipes.gpu_estimate import GPUS, RECIPES, GpuEstimate, gpu_estimates, stages_of, table
from pinxit.recipes.unclip import presets as unclip
from pinxit.training.flops import Cost
from pinxit.training.lora import adapt
from pinxit.training.optim import Average, adamw, trainable_parameters
from pinxit.training.plan import Plan
from pinxit.training.rows import all_rows

H100 = GPUS["h100"]


@pytest.mark.parametrize("name", ["clip/nano", "dalle/nano", "unclip/nano"])
def test_states_take_the_bytes_that_are_foretold(name: str) -> None:
    """Weights, gradients, both moments and the average after one update, to the byte."""
    stage = stages_of(name)[0]
    one = next(iter(gpu_estimates([stage], 1, H100)))
    task = stage.build()
    modules, rows = task.modules(), all_rows(0, 2)
    optimiser, average = adamw(modules, stage.plan), Average(modules, 0.9)
    task.loss(task.blank(2), rows)[0].backward()  # type: ignore[no-untyped-call]
    for parameter in trainable_parameters(modules).values():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    optimiser.step()
    held = [t for p in trainable_parameters(modules).values() for t in (p, p.grad, *optimiser.state[p].values())]
    held += [average.shadow[key] for key in trainable_parameters(modules)]
    counted = [tensor for tensor in held if tensor is not None and tensor.ndim]  # not the counts of steps
    scalars = sum(20 for parameter in trainable_parameters(modules).values() if not parameter.ndim)
    copies = 2 * one.cost.parameters if stage.plan.precision == "bf16" else 0
    there = sum(tensor.nbytes for tensor in counted) + scalars + copies
    assert there + one.cost.activation_bytes * one.rows == pytest.approx(one.bytes, abs=1)


def test_adapting_by_little_takes_the_bytes_that_are_foretold() -> None:
    """What rests has its weights alone; additions have gradients, moments and averages."""
    full, little = (stages_of("clip/nano", [f"plan.lora={rank}", "plan.precision=fp32"])[0] for rank in (0, 4))
    costs = [cost_of(stage, torch.device("cpu")) for stage in (full, little)]
    task = full.build()
    adapt(task.modules(), 4)
    learning = sum(parameter.numel() for parameter in trainable_parameters(task.modules()).values())
    assert (costs[1].parameters, costs[1].still) == (learning, costs[0].parameters) and costs[0].still == 0
    held = costs[1].memory(little.plan) - costs[1].activation_bytes * little.plan.batch
    assert held == 20 * learning + 4 * costs[0].parameters < 0.5 * 20 * costs[0].parameters


def test_gpus_divide_work_and_activations_and_not_weights() -> None:
    stage = replace(stages_of("dalle/nano", ["plans.transformer.batch=64"])[1])
    alone, many = (next(iter(gpu_estimates([stage], gpus, H100, 0.5))) for gpus in (1, 8))
    assert (alone.rows, many.rows) == (64, 8)
    assert alone.bytes - many.bytes == pytest.approx(56 * alone.cost.activation_bytes)
    assert alone.seconds == pytest.approx(8 * many.seconds)
    work = stage.plan.images * cost_of(stage, torch.device("cpu")).flops
    assert alone.seconds == pytest.approx(work / (0.5 * H100.bf16))
    smaller = next(
        iter(gpu_estimates([replace(stage, plan=replace(stage.plan, micro=4, precision="fp32"))], 8, H100, 0.5))
    )
    assert smaller.rows == 4 and smaller.seconds == pytest.approx(many.seconds * H100.bf16 / H100.fp32)


def test_what_a_gpu_takes_does_not_hang_on_the_processor_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without bfloat16 trains in float32, whatever the plan says: its products, and no copies of weights."""
    monkeypatch.setattr("pinxit.recipes.estimate.matrix_rate", lambda dtype, kind: 1e9)
    stage = stages_of("clip/nano")[0]
    found = []
    for native in (True, False):
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda native=native: native)
        found.append([next(iter(gpu_estimates([stage], 1, kind, 0.5))) for kind in (H100, GPUS["v100"])])
        here = next(iter(estimates([stage], "cpu")))
        assert here.cost.memory(here.stage.plan) == found[-1][0 if native else 1].bytes
    (new, old), again = found
    assert [one.bytes for one in again] == [new.bytes, old.bytes]
    assert old.bytes == 20 * old.cost.parameters + old.cost.activation_bytes * old.rows
    assert old.cost.activation_bytes > 1.5 * new.cost.activation_bytes
    assert old.seconds == pytest.approx(new.seconds * H100.bf16 / GPUS["v100"].fp32)


def test_with_shard_gpus_divide_the_weights_too() -> None:
    """Blocks of DALL-E's size, two of its 64: states are divided, what is gathered is not."""
    changes = ["plans.transformer.shard=true", "transformer.depth=2", "transformer.dim=3968"]
    stage = next(one for one in stages_of("dalle/paper", changes) if one.name == "transformer")
    cost = cost_of(stage, torch.device("cpu"))
    plan = replace(stage.plan, micro=1, batch=8)
    alone, few, many = (cost.memory(plan, gpus) for gpus in (1, 8, 64))
    states = 20 * cost.parameters
    assert few - many == pytest.approx(states / 8 - states / 64, rel=1e-3)
    assert cost.units == (12 * 3968**2 + 13 * 3968,) * 2
    outside = cost.parameters - sum(cost.units)
    assert alone - few == pytest.approx(states * 7 / 8 - 4 * (2 * outside + 3 * cost.units[0]), rel=1e-3)


def test_with_recompute_borders_of_blocks_are_kept_and_what_is_run_twice_is_counted() -> None:
    """DALL-E's blocks again: what one more of them keeps is the stream that goes into it, in 32 bits."""
    wide = ["plans.transformer.shard=true", "transformer.dim=3968"]

    def cost(depth: int, again: bool) -> tuple[Cost, Plan]:
        changes = [*wide, f"transformer.depth={depth}", f"plans.transformer.recompute={again}".lower()]
        stage = next(one for one in stages_of("dalle/paper", changes) if one.name == "transformer")
        return cost_of(stage, torch.device("cpu")), replace(stage.plan, micro=1, batch=8)

    (kept, about), (again, about_again), (deeper, _) = cost(2, False), cost(2, True), cost(3, True)
    assert deeper.activation_bytes - again.activation_bytes == 4 * (1 + 256 + 1024 - 1) * 3968
    assert again.activation_bytes < 0.6 * kept.activation_bytes
    assert 1.15 * kept.flops < again.flops < 4 / 3 * kept.flops
    copies = 2 * again.units[0]  # in bf16, of all blocks but one
    assert kept.cut(about, 8) - again.cut(about_again, 8) == copies
    alone = [one.memory(plan) - one.activation_bytes for one, plan in ((kept, about), (again, about_again))]
    assert alone[0] == alone[1]


def test_a_clips_rows_in_memory_are_called_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """plan.micro has no effect where `piece` is set."""
    (stage,) = stages_of("clip/nano")
    with pytest.raises(UsageError, match=r"^piece=16 does not divide the 24 pictures of a rank"):
        table("clip/nano", 2, "h100", changes=["plan.batch=48", "piece=16"])
    cost: Any = SimpleNamespace(parameters=1234, flops=5e9)
    monkeypatch.setattr(gpu_estimate, "gpu_estimates", lambda *about: [GpuEstimate(stage, cost, 4, 1e12, 3600.0)])
    assert table("clip/nano", 2, "h100")[-1].endswith(
        "; set piece or plan.recompute=true or plan.shard=true (on several)"
    )


@pytest.mark.parametrize(("piece", "batch", "rows"), [(8, 32, 8), (8, 36, 0), (0, 32, 0)])
def test_a_clips_pieces_are_its_rows_where_they_fit(piece: int, batch: int, rows: int) -> None:
    assert stages_of("clip/nano", [f"piece={piece}", f"plan.batch={batch}"])[0].plan.micro == rows


def test_gradient_caching_counts_the_second_pass_and_keeps_borders_of_all_and_the_inside_of_a_piece() -> None:
    """However large a piece is: the few rows that are traced may be less than one, or several."""

    def cost(piece: int) -> tuple[Cost, Plan]:
        (stage,) = stages_of("clip/nano", ["plan.batch=64", f"piece={piece}"])
        return cost_of(stage, torch.device("cpu")), stage.plan

    (whole_batch, at_once), (little, few), (large, many) = (cost(piece) for piece in (64, 4, 32))
    assert little == large
    # A third is forward, and a little more, as there is no gradient of the pictures.
    assert 4 / 3 * whole_batch.flops < large.flops < 1.36 * whole_batch.flops
    inside, border = little.activation_bytes, little.border_bytes
    assert inside + border == whole_batch.activation_bytes and whole_batch.border_bytes == 0
    assert 4 * 3 * 32**2 < border < 0.2 * inside  # at least the picture, in 32 bits
    assert large.memory(many) - little.memory(few) == pytest.approx((32 - 4) * inside)
    assert whole_batch.memory(at_once) - large.memory(many) == pytest.approx((64 - 32) * inside)


@pytest.mark.parametrize("recipe", RECIPES)
def test_costs_are_counted_without_weights(recipe: str) -> None:
    """Those of a large preset would fill the machine."""
    for stage in stages_of(f"{recipe}/nano"):
        with torch.device("meta"):
            modules = stage.build().modules()
        held = [parameter for module in modules.values() for parameter in module.parameters()]
        assert held and all(parameter.is_meta for parameter in held)


def test_all_that_learns_is_counted() -> None:
    """The article's unCLIP: both priors, the decoder and its upsamplers."""
    config = unclip.preset("paper")
    names = [stage.name for stage in stages_of("unclip/paper")]
    upsamplers = [one.name for one in config.upsamplers]
    assert len(upsamplers) == 2 and names == [*(one.name for one in config.priors), config.decoder.name, *upsamplers]


def test_what_is_damaged_by_chance_has_costs() -> None:
    name = unclip.preset("nano").upsamplers[0].name
    found = [stages_of("unclip/nano", [f"upsamplers.{name}.corrupt={how}"])[-1] for how in ("blur", "bsr")]
    blur, bsr = (cost_of(stage, torch.device("cpu")) for stage in found)
    assert found[1].name == name and bsr == blur


def test_every_recipe_has_a_table_and_strangers_are_refused() -> None:
    for recipe in RECIPES:
        lines = table(f"{recipe}/nano", 2, "a100")
        assert lines[0].split()[0] == "stage" and "2 x a100 at 35% of the peak, which is assumed" in lines[-1]
    assert "assumed" not in table("clip/nano", 2, "a100", 0.35)[-1]  # whoever names it has measured it
    large = table("dalle/nano", 1, "rtx4090", changes=["plans.transformer.batch=4194304"])
    assert large[-1].startswith("transformer: more than the 22 GiB of one rtx4090")
    for arguments, told in (
        (("imagen/none", 1, "h100"), "no preset 'none' of imagen"),
        (("what", 1, "h100"), "name a preset as RECIPE/NAME"),
        (("clip/nano", 1, "h1000"), "no figures of a GPU 'h1000'"),
        (("clip/nano", 3, "h100"), "a batch of 16 cannot be shared among 3 ranks"),
    ):
        with pytest.raises(UsageError, match=told):
            table(*arguments)


def test_time_is_work_over_what_all_gpus_reach_in_the_plans_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    cost: Any = SimpleNamespace(flops=2e9, memory=lambda plan, gpus: plan.batch * plan.micro * gpus)
    monkeypatch.setattr(gpu_estimate, "cost_of", lambda stage, device, native: cost)
    build: Any = None
    stages = [Stage("it", Plan(images=800, batch=8, precision=kind), build) for kind in ("bf16", "fp32")]
    found = list(gpu_estimates(stages, 2, H100, 0.25))
    assert [one.seconds for one in found] == pytest.approx([1.6e12 / (2 * peak * 0.25) for peak in (989e12, 67e12)])
    assert [(one.rows, one.bytes) for one in found] == [(4, 32)] * 2


def test_a_table_tells_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    small: Any = SimpleNamespace(parameters=1234, flops=5e9)
    large: Any = SimpleNamespace(parameters=1234, flops=2e12)
    build: Any = None
    stage = Stage("base", Plan(images=8000, batch=8), build)
    most = GpuEstimate(stage, small, 4, 80e9 + 1e8, 3 * 3600.0)
    less = replace(most, stage=replace(stage, name="up"), cost=large, bytes=80e9, seconds=2.0 * 3600)
    monkeypatch.setattr(gpu_estimate, "gpu_estimates", lambda *about: [most, less])
    lines = table("clip/nano", 2, "h100", 0.5)
    assert lines[1].split() == ["base", "1,234", "5", "8,000", "4", "74.6", "3.0", "h"]
    assert lines[2].split() == ["up", "1,234", "2,000", "8,000", "4", "74.5", "2.0", "h"]
    assert lines[3] == "in all: 5.0 h on 2 x h100 at 50% of the peak"
    assert lines[4].startswith("base: more than the 75 GiB of one h100; set plan.micro") and len(lines) == 5
    assert table("clip/nano", 2, "h100")[3].endswith("at 35% of the peak, which is assumed")


@pytest.mark.parametrize(
    ("chosen", "rows", "told"),
    [
        ({}, 4, "set plan.micro or plan.recompute=true or plan.shard=true (on several)"),
        ({"shard": True}, 4, "set plan.micro or plan.recompute=true"),
        ({"recompute": True}, 1, "set plan.shard=true (on several)"),
        ({"shard": True, "recompute": True}, 1, "take more GPUs"),
    ],
)
def test_what_does_not_fit_is_not_told_to_set_what_is_set(
    chosen: dict[str, Any], rows: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build: Any = None
    cost: Any = SimpleNamespace(parameters=1234, flops=5e9)
    found = GpuEstimate(Stage("base", Plan(images=8000, batch=8, **chosen), build), cost, rows, 1e12, 3600.0)
    monkeypatch.setattr(gpu_estimate, "gpu_estimates", lambda *about: [found])
    assert table("clip/nano", 2, "h100")[-1] == f"base: more than the 75 GiB of one h100; {told}"

"""The training loop: everything that pinxit trains goes through `fit`.

Progress is counted in images seen. A batch and every random draw of a step are functions of (seed, images seen), so
that the only state between steps is weights, averages and moments. A run that was stopped and resumed therefore ends
with the weights of one that was not: bit for bit on a CPU with the same number of threads, on a GPU except for kernels
that add in no fixed order.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pinxit.config import to_dict
from pinxit.errors import CheckpointError, UsageError
from pinxit.models.torch_defaults import torch_defaults_for_training
from pinxit.pictures import write_png
from pinxit.texts import counted
from pinxit.training import state as states
from pinxit.training.flops import Cost, matrix_rate, measure
from pinxit.training.log import Log, Meter
from pinxit.training.lora import adapt
from pinxit.training.machine import machine
from pinxit.training.muon import muon
from pinxit.training.optim import Average, adamw, buffers_restored, trainable_parameters
from pinxit.training.parallel import Ranks, join_ranks, pieces_of
from pinxit.training.plan import Batch, Plan, Task, check_same_plan
from pinxit.training.precision import autocast, compile_modules, keep_freed_memory, pick_device, place, product_dtype
from pinxit.training.prefetch import prefetch
from pinxit.training.recompute import recompute
from pinxit.training.rows import Rows
from pinxit.training.sharding import Sharded, gathered, shard_task
from pinxit.training.state import Progress, State
from pinxit.training.step import check_worth, step
from pinxit.training.stop import Stop
from pinxit.training.writer import Writer
from pinxit.weights.tensor_files import some

__all__ = ["Batch", "Outcome", "Plan", "Stop", "Task", "fit"]

Weights = Mapping[str, Mapping[str, Tensor]]
"""Initial weights: module name to state dict."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `fit` ended."""

    progress: Progress
    finished: bool  # all images of the plan have been seen
    signalled: bool  # stopped by SIGINT or SIGTERM


@torch_defaults_for_training()
def fit(
    task: Task,
    plan: Plan,
    folder: str | Path,
    device: str = "auto",
    progress: bool = True,
    stop_after: int | None = None,
    *,
    stop: Stop | None = None,
    init: Weights | None = None,
) -> Outcome:
    """Train `task` by `plan` in `folder`, from wherever the last invocation there ended.

    Writes the state (`training.saved_state`), metrics.jsonl and preview.png there. `progress`: a bar or plain lines;
    `stop_after`: images seen at which to save and return early; `stop`: signals and a time limit, shared with other
    stages; `init`: weights, of any precision, to start a new run from. Raises PinxitError when the folder cannot be
    written or belongs to another model or plan, or when the loss stays non-finite.
    """
    ranks, stop, folder = join_ranks(pick_device(device)), stop or Stop(), Path(folder)
    on = ranks.device
    goal = plan.images if stop_after is None else min(plan.images, stop_after)
    if on.type == "cpu":
        keep_freed_memory()
    task, state, new = _start(task, plan, folder, init, ranks)
    at = state.progress
    if at.images >= goal:
        return Outcome(at, at.images >= plan.images, False)
    known = states.has_current_draws(folder) if states.exists(folder) else True
    with Log(folder, task.name, plan.images, at.images, progress, ranks.lead) as log, stop.listening():
        if new:
            why = "at least in part, as the checkpoint does not have them"
            log.say(f"{counted(len(new), 'weight')} start{'s' * (len(new) == 1)} from scratch, {why}: {some(new)}")
        if not known:
            log.say("this run began with an older pinxit, whose random draws differed; it goes on with those of today")
        cost = _prepare(task, plan, at.images, ranks, log)
        meter, since, saved = Meter(), at.seconds, time.monotonic()
        scores: dict[str, float] = {}  # of the latest preview, until they are logged
        with prefetch(task, plan, at.images, goal, on, ranks) as batches, Writer.on(folder, on) as writer:
            for pieces in meter.timing(batches):
                began = time.perf_counter()
                meter.add(step(task, plan, state, pieces, ranks))
                at.seconds += time.perf_counter() - began
                log.tick(at.images)
                if _passed(at.images, plan.preview_interval(), plan) or at.images >= plan.images:
                    scores = _look(task, plan, state, folder, ranks)
                if _passed(at.images, plan.log_interval(), plan) or at.images >= goal:
                    speed = _speed(at, meter, cost, plan, ranks, since)
                    log.line(at.images, ranks.mean(meter.read()) | speed | scores)
                    since, scores = at.seconds, {}
                if at.images >= plan.images:
                    check_worth(at, plan, task.name)  # before any save: a finished run is not looked at again
                writer.finish_if_written()
                if state.mine and state.ranks.agreed(time.monotonic() - saved > 60 * plan.save_minutes):
                    writer.save(state, to_dict(plan))
                    saved = time.monotonic()
                if ranks.agreed(stop.due()):
                    break
        if state.mine:
            state.save(folder, to_dict(plan))
        ranks.wait()
    return Outcome(at, at.images >= plan.images, ranks.agreed(stop.signalled))


def _start(task: Task, plan: Plan, folder: Path, init: Weights | None, ranks: Ranks) -> tuple[Task, State, list[str]]:
    """The task, moved to its device or sharded; the state to start from; and the `missing_weights` of `init`.

    A run starts from the first of these that applies:
    1. the state in `folder`: it is resumed, and `init` is ignored;
    2. the weights of `init`, at image 0, with fresh moments; weights that it lacks, because the model has gained them
       since, are initialised by the task, and trained themselves also where a LoRA is trained;
    3. the weights that the task has initialised from its seed, at image 0.
    """
    modules = task.modules()
    resumed = ranks.agreed(states.exists(folder))
    new: list[str] = []
    for name, values in {} if resumed or init is None else init.items():
        new += _take(modules[name], name, values)
    whole = states.read_whole(folder) if resumed else new
    if plan.lora:
        adapt(modules, plan.lora, whole)
    if plan.recompute:
        recompute(modules)
    task = shard_task(task, plan, ranks)
    cut = isinstance(task, Sharded)
    if not cut:
        place(modules, plan, ranks.device)
    optimiser = (muon if plan.optimiser == "muon" else adamw)(modules, plan)
    average = Average(modules, plan.ema, plan.ema_every)
    about = machine(str(ranks.device)), ranks.piece(task, plan)
    group = ranks if cut else Ranks()
    state = State(modules, optimiser, average, Progress(), *about, whole if plan.lora else [], group, cut or ranks.lead)
    if resumed:
        check_same_plan(states.read_plan(folder), to_dict(plan), str(folder))
        before = states.read_piece(folder)
        if pieces_of(task) == "settled" and before not in (None, state.piece):
            raise UsageError(
                f"{folder} was trained with micro-batches of {before} pictures, not {state.piece}, which changes what "
                f"it learns: use plan.micro={before} (and no more ranks than fill it) or train into another folder."
            )
        state.load(folder)
    elif state.mine:
        state.save(folder, to_dict(plan))  # a folder that cannot be written is refused now, not in an hour
    return task, state, new


def missing_weights(module: nn.Module, name: str, values: Mapping[str, Tensor]) -> list[str]:
    """The weights of the module `name`, as "name/path", that `values` lacks or has only a part of (`values.partly`)."""
    partly: Collection[str] = getattr(values, "partly", ())
    whole = set(values) - set(partly)  # by its names alone: values may be made as they are asked for
    return [f"{name}/{key}" for key in sorted(module.state_dict().keys() - whole)]


def _take(module: nn.Module, name: str, values: Mapping[str, Tensor]) -> list[str]:
    """Load `values` into `module`; returns the `missing_weights`."""
    check_weights(module, name, values)
    known = module.state_dict()
    with torch.no_grad():
        for key, value in values.items():  # one at a time: they may be read from a file as they are asked for
            known[key].copy_(value)
    return missing_weights(module, name, values)


def check_weights(module: nn.Module, name: str, values: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if `module` does not have weights of these names and shapes; it may have others."""
    known = module.state_dict()
    for key in sorted(values):  # one at a time: they may be read or made as they are asked for
        value = values[key]
        here = f"of shape {list(known[key].shape)}" if key in known else "missing"
        if here != f"of shape {list(value.shape)}":
            both = f"{key} is of shape {list(value.shape)} there and {here} here"
            raise CheckpointError(f"the initial weights of '{name}' are of another model: {both}.")


def _prepare(task: Task, plan: Plan, images: int, ranks: Ranks, log: Log) -> Cost:
    """Measure the cost of a picture, and compile the task's modules if the plan says so.

    With pictures of the update at `images` seen, as it is made next: for others, a stream would fetch other shards.
    """
    device, rows = ranks.device, ranks.rows(task, plan, images)[0]

    def load(rows: Rows) -> Batch:
        return {name: tensor.to(device) for name, tensor in task.batch(rows).items()}

    def trial() -> None:
        try:
            with buffers_restored(task.modules()), autocast(plan, device):
                torch.autograd.backward(task.loss(load(rows), rows)[0])
        finally:  # even a trial that fails half-way leaves gradients
            for parameter in trainable_parameters(task.modules()).values():
                parameter.grad = None

    own = replace(plan, micro=0, batch=plan.batch // ranks.world)
    cost = measure(task, load(replace(rows, count=min(4, rows.count))), own, device)
    hot = getattr(task, "modules_to_compile", lambda: list(task.modules().values()))()
    how = compile_modules(hot, plan, device, trial)
    cut = _cut(task, plan, ranks.world, len(hot))
    size = f"{cost.parameters:,} parameters{cut}, {cost.flops / 1e9:.3g} GFLOP a picture"
    kind = str(product_dtype(plan, device)).removeprefix("torch.")
    log.say(f"{size}, {device}, {kind}, {how}")
    return cost


def _cut(task: Task, plan: Plan, ranks: int, hot: int) -> str:
    """How a sharded model is cut, and what has no effect for it."""
    if not isinstance(task, Sharded):
        return ""
    layout = " (plan.channels_last has no effect with plan.shard)" if plan.channels_last else ""
    return f", cut among {ranks} ranks in {counted(1 + hot, 'unit')}{layout}"


def _speed(at: Progress, meter: Meter, cost: Cost, plan: Plan, ranks: Ranks, since: float) -> dict[str, float]:
    """The speed of the updates that `meter` has counted, over all ranks, as numbers to log.

    `waiting` is the share of the time in which there was no batch to train on; the other numbers are of the rest.
    """
    pictures_per_s = meter.count * plan.batch / max(1e-9, at.seconds - since)
    rate = cost.flops * pictures_per_s
    peak = ranks.world * matrix_rate(product_dtype(plan, ranks.device), ranks.device.type)
    waiting = meter.waited / max(1e-9, meter.waited + at.seconds - since)
    speed = {"pictures_per_s": pictures_per_s, "gflops_per_s": rate / 1e9, "share": rate / peak, "waiting": waiting}
    return speed | {"skipped": float(at.skipped), "seconds": at.seconds}


def _look(task: Task, plan: Plan, state: State, folder: Path, ranks: Ranks) -> dict[str, float]:
    """Draw the task's preview with the averaged weights, which rank 0 writes; returns the task's scores, if any.

    If the model is sharded, all ranks gather the weights and draw the preview: were blocks to run on one rank alone,
    the order of its collectives would differ from the others', and they would wait for each other for ever.
    """
    if not state.mine:
        return {}
    eager = torch.compiler.set_stance("force_eager")  # previews have other shapes, for which it would recompile
    with eager, torch.no_grad(), autocast(plan, ranks.device), state.average.in_place(), gathered(task):
        picture = task.preview()
        scores: dict[str, float] = getattr(task, "scores", dict)()
    if picture is not None and ranks.lead:
        write_png(folder / "preview.png", picture)
    return scores


def _passed(images: int, interval: int, plan: Plan) -> bool:
    """Whether the batch that ended at `images` crossed a multiple of `interval`."""
    return images // interval > (images - plan.batch) // interval

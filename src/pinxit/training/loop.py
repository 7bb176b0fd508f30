"""The training loop, top to bottom: everything pinxit trains goes through `fit`.

Progress is counted in images seen. A batch is a function of (seed, images seen) and so is every random draw of a step;
nothing else is remembered between steps but weights, averages and moments. A run that was stopped and resumed therefore
ends with the weights of one that was not: bit for bit on a CPU with as many threads, on a GPU up to kernels that add in
no fixed order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pinxit.config import to_dict
from pinxit.errors import CheckpointError, UsageError
from pinxit.pictures import write_png
from pinxit.training import state as states
from pinxit.training.flops import Cost, matrix_rate, measure
from pinxit.training.log import Log, Meter
from pinxit.training.lora import adapt
from pinxit.training.machine import machine
from pinxit.training.muon import muon
from pinxit.training.optim import Average, adamw, buffers_restored, trained
from pinxit.training.parallel import Ranks, here, pieces_of
from pinxit.training.plan import Batch, Plan, Task, check_same_plan
from pinxit.training.precision import autocast, compile_modules, keep_freed_memory, pick_device, place
from pinxit.training.prefetch import prefetch
from pinxit.training.recompute import recompute
from pinxit.training.rows import Rows, whole
from pinxit.training.sharding import Sharded, gathered, spread_out
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
    finished: bool  # the plan's images have all been seen
    signalled: bool  # stopped by SIGINT or SIGTERM


def fit(
    task: Task,
    plan: Plan,
    folder: Path,
    device: str = "auto",
    progress: bool = True,
    stop_after: int | None = None,
    *,
    stop: Stop | None = None,
    init: Weights | None = None,
) -> Outcome:
    """Train `task` by `plan` in `folder`, from wherever the folder's last invocation ended.

    Writes the state (`training.stored`), metrics.jsonl and preview.png there. `progress` shows a bar or plain lines;
    `stop_after`: images at which to save and return early; `stop`: signals and a time limit shared with other stages;
    `init`: weights of a fresh run. Raises PinxitError when the folder cannot be written or belongs to another model or
    plan, or when the loss stays non-finite.
    """
    ranks, stop = here(pick_device(device)), stop or Stop()
    on = ranks.device
    goal = plan.images if stop_after is None else min(plan.images, stop_after)
    if on.type == "cpu":
        keep_freed_memory()
    task, state, new = _start(task, plan, folder, init, ranks)
    at = state.progress
    if at.images >= goal:
        return Outcome(at, at.images >= plan.images, False)
    known = states.drawn_as_now(folder) if states.exists(folder) else True
    with Log(folder, task.name, plan.images, at.images, progress, ranks.lead) as log, stop.listening():
        if new:
            log.say(f"{len(new)} weights begin anew, for the checkpoint has none of their names: {some(new)}")
        if not known:
            log.say("it began under an older pinxit, whose random numbers were others; it goes on with today's")
        cost = _prepare(task, plan, ranks, log)
        meter, since, saved = Meter(), at.seconds, time.monotonic()
        scores: dict[str, float] = {}  # of the latest preview, until they are logged
        with prefetch(task, plan, at.images, goal, on, ranks) as batches, Writer.on(folder, on) as writer:
            for pieces in batches:
                began = time.perf_counter()
                meter.add(step(task, plan, state, pieces, ranks))
                at.seconds += time.perf_counter() - began
                log.tick(at.images)
                if _passed(at.images, plan.preview_interval(), plan) or at.images >= plan.images:
                    scores = _look(task, plan, state, folder, ranks)
                if _passed(at.images, plan.log_interval(), plan) or at.images >= goal:
                    updates = meter.count
                    numbers = ranks.mean(meter.read())
                    log.line(at.images, numbers | _speed(at, updates, cost, plan, ranks, since) | scores)
                    since, scores = at.seconds, {}
                writer.look()
                if state.mine and state.ranks.agreed(time.monotonic() - saved > 60 * plan.save_minutes):
                    writer.save(state, to_dict(plan))
                    saved = time.monotonic()
                if ranks.agreed(stop.due()):
                    break
        if at.images >= plan.images:
            check_worth(at, plan, task.name)
        if state.mine:
            state.save(folder, to_dict(plan))
        ranks.wait()
    return Outcome(at, at.images >= plan.images, ranks.agreed(stop.signalled))


def _start(task: Task, plan: Plan, folder: Path, init: Weights | None, ranks: Ranks) -> tuple[Task, State, list[str]]:
    """The task, placed; the state to go on from; and the names of weights that `init` lacks.

    The ways a run can start, the first that applies:
    1. `folder` holds a state: exactly from there, whatever `init` says;
    2. `init` is given: from those weights, at image 0, with fresh moments; what a model has grown since they were
       trained is as the task made it;
    3. from the weights that the task made of its seed, at image 0.
    """
    modules = task.modules()
    resumed = ranks.agreed(states.exists(folder))
    new: list[str] = []
    for name, values in {} if resumed or init is None else init.items():
        new += _take(modules[name], name, values)
    if plan.lora:
        adapt(modules, plan.lora)
    if plan.recompute:
        recompute(modules)
    task = spread_out(task, plan, ranks)
    cut = isinstance(task, Sharded)
    if not cut:
        place(modules, plan, ranks.device)
    optimiser = (muon if plan.optimiser == "muon" else adamw)(modules, plan)
    average = Average(modules, plan.ema, plan.ema_every)
    about = machine(str(ranks.device)), ranks.piece(task, plan)
    state = State(modules, optimiser, average, Progress(), *about, ranks if cut else Ranks(), cut or ranks.lead)
    if resumed:
        check_same_plan(states.read_plan(folder), to_dict(plan), str(folder))
        before = states.read_piece(folder)
        if pieces_of(task) == "settled" and before not in (None, state.piece):
            raise UsageError(
                f"{folder} was trained with {before} rows in a piece, not {state.piece}, which changes what it learns: "
                "keep plan.batch / (ranks x pieces) or train into another folder."
            )
        state.load(folder)
    elif state.mine:
        state.save(folder, to_dict(plan))  # a folder that cannot be written is refused now, not in an hour
    return task, state, new


def _take(module: nn.Module, name: str, values: Mapping[str, Tensor]) -> list[str]:
    """Fill `module` with `values`, and give the names of what it has besides."""
    check_weights(module, name, values)
    known = module.state_dict()
    module.load_state_dict(known | dict(values))
    return [f"{name}/{key}" for key in sorted(known.keys() - values.keys())]


def check_weights(module: nn.Module, name: str, values: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where `module` has no weights of these names and shapes."""
    known = module.state_dict()
    for key, value in sorted(values.items()):
        here = f"of shape {list(known[key].shape)}" if key in known else "missing"
        if here != f"of shape {list(value.shape)}":
            told = f"{key} is of shape {list(value.shape)} there and {here} here"
            raise CheckpointError(f"the initial weights of '{name}' are of another model: {told}.")


def _prepare(task: Task, plan: Plan, ranks: Ranks, log: Log) -> Cost:
    """Count the operations of a picture and compile what the plan wants compiled."""

    device, rows = ranks.device, ranks.rows(task, plan, 0)[0]

    def load(rows: Rows) -> Batch:
        return {name: tensor.to(device) for name, tensor in task.batch(rows).items()}

    def trial() -> None:
        try:
            with buffers_restored(task.modules()), autocast(plan, device):
                torch.autograd.backward(task.loss(load(rows), rows)[0])
        finally:  # a trial that fails half-way leaves gradients too
            for parameter in trained(task.modules()).values():
                parameter.grad = None

    cost = measure(task, load(whole(0, min(4, rows.count))), plan, device)
    hot = getattr(task, "hot", lambda: list(task.modules().values()))()
    how = compile_modules(hot, plan, device, trial)
    cut = f", cut among {ranks.world} ranks in {1 + len(hot)} units" if isinstance(task, Sharded) else ""
    size = f"{cost.parameters:,} parameters{cut}, {cost.flops / 1e9:.3g} GFLOP a picture"
    log.say(f"{size}, {device}, {plan.precision}, {how}")
    return cost


def _speed(at: Progress, count: int, cost: Cost, plan: Plan, ranks: Ranks, since: float) -> dict[str, float]:
    """How fast the last `count` updates were, all ranks together."""
    pictures_per_s = count * plan.batch / max(1e-9, at.seconds - since)
    rate = cost.flops * pictures_per_s
    speed = {"pictures_per_s": pictures_per_s, "gflops_per_s": rate / 1e9}
    share = {"share": rate / (ranks.world * matrix_rate(plan.precision, ranks.device.type))}
    return speed | share | {"skipped": float(at.skipped), "seconds": at.seconds}


def _look(task: Task, plan: Plan, state: State, folder: Path, ranks: Ranks) -> dict[str, float]:
    """Rank 0 writes the task's preview with the averaged weights; returns its scores, where it has any.

    What is cut is gathered for that by all, who draw besides: a block that one rank alone had run would have others
    wait for each other in another order.
    """
    if not state.mine:
        return {}
    eager = torch.compiler.set_stance("force_eager")  # other shapes must not make the compiler start again
    with eager, torch.no_grad(), autocast(plan, ranks.device), state.average.in_place(), gathered(task):
        picture = task.preview()
        scores: dict[str, float] = getattr(task, "scores", dict)()
    if picture is not None and ranks.lead:
        write_png(folder / "preview.png", picture)
    return scores


def _passed(images: int, interval: int, plan: Plan) -> bool:
    """Whether the batch that ended at `images` crossed a multiple of `interval`."""
    return images // interval > (images - plan.batch) // interval

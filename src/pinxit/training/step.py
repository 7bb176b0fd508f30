"""One update of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pinxit.errors import PinxitError
from pinxit.training.local import is_sharded, local
from pinxit.training.log import Meter
from pinxit.training.optim import learning_rate, set_rate, trainable_parameters
from pinxit.training.parallel import Ranks, pieces_of
from pinxit.training.plan import Plan, Task
from pinxit.training.precision import autocast
from pinxit.training.prefetch import Pieces
from pinxit.training.state import Progress, State

PATIENCE = 50  # batches in a row whose loss or gradient is not finite, before the run gives up
AGAIN = "remove the stage's folder to train it again, with a lower learning rate or precision=fp32"  # a run keeps both


def step(task: Task, plan: Plan, state: State, pieces: Pieces, ranks: Ranks) -> dict[str, Tensor | float]:
    """Make one update, the same on all ranks; returns this rank's numbers to log.

    A batch whose loss or gradient is not finite changes only the counters. Raises PinxitError after 50 in a row.
    """
    at, rate = state.progress, learning_rate(plan, state.progress.images)
    set_rate(state.optimiser, rate)
    losses, numbers = [], Meter()
    before = [buffer.clone() for buffer in state.followed]
    for rows, batch in with_counts(task, pieces, ranks):
        with autocast(plan, ranks.device):
            loss, parts = task.loss(batch, rows)
        torch.autograd.backward(loss / (len(pieces) * ranks.world))
        losses.append(loss.detach().float())
        numbers.add(parts)
    parameters, mean = list(trainable_parameters(state.modules).values()), torch.stack(losses).mean()
    total = ranks.sum_gradients([p for p in parameters if not is_sharded(p)], mean)
    # 0 * total: a loss that is not finite makes the norm so too, on all ranks, as `total` is the sum over them.
    length = gradient_norm(parameters, ranks) + 0 * float(total)
    grads = [local(p.grad) for p in parameters if p.grad is not None]
    at.images += plan.batch
    if math.isfinite(length):
        if plan.clip and length > plan.clip:
            torch._foreach_mul_(grads, plan.clip / length)
        state.optimiser.step()
        getattr(task, "after_step", lambda: None)()
        if pieces_of(task) == "settled":
            ranks.share_buffers(state.modules)
        at.updates, at.skipped_in_row = at.updates + 1, 0
        state.average.update(at.updates)
    else:
        for buffer, value in zip(state.followed, before, strict=True):
            buffer.copy_(value)
        _skip(at, task.name)
    state.optimiser.zero_grad(set_to_none=True)
    means = {name: total / len(pieces) for name, total in numbers.sums.items()}
    return {"loss": mean} | means | {"lr": rate, "grad_norm": length}


def with_counts(task: Task, pieces: Pieces, ranks: Ranks) -> Pieces:
    """The pieces, each with the means, over all pieces of all ranks, of what the task `counts` in one."""
    counts = getattr(task, "counts", None)
    if counts is None:
        return pieces
    each = [counts(batch) for _, batch in pieces]
    means = {name: ranks.sum(torch.stack([one[name].float() for one in each]).mean()) / ranks.world for name in each[0]}
    return [(rows, batch | means) for rows, batch in pieces]


def gradient_norm(parameters: Sequence[nn.Parameter], ranks: Ranks) -> float:
    """The L2 norm of all gradients together, including those that are sharded among ranks."""
    whole = [p.grad for p in parameters if p.grad is not None and not is_sharded(p)]
    cut = [local(p.grad) for p in parameters if p.grad is not None and is_sharded(p)]
    length = torch.nn.utils.get_total_norm(whole)
    if not any(map(is_sharded, parameters)):
        return float(length)
    squares = [length.square().to(ranks.device) / ranks.world, *(grad.square().sum() for grad in cut)]
    return float(ranks.sum(torch.stack(squares).sum()).sqrt())


def check_worth(at: Progress, plan: Plan, name: str) -> None:
    """Raise PinxitError if a run ends with many batches in a row without a finite loss: its weights are useless."""
    few = max(1, plan.images // plan.batch // 10)
    if at.updates == 0 or at.skipped_in_row > few:
        raise PinxitError(
            f"{name}: loss or gradient was not finite in the last {at.skipped_in_row} batches, so the weights are not "
            f"kept; {AGAIN}."
        )


def _skip(at: Progress, name: str) -> None:
    at.skipped, at.skipped_in_row = at.skipped + 1, at.skipped_in_row + 1
    if at.skipped_in_row >= PATIENCE:
        raise PinxitError(
            f"{name}: loss or gradient was not finite {PATIENCE} batches in a row, at image {at.images}; {AGAIN}."
        )

"""One update of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pinxit.errors import PinxitError
from pinxit.training.log import Meter
from pinxit.training.optim import learning_rate, set_rate, trained
from pinxit.training.plan import Plan, Task
from pinxit.training.precision import autocast
from pinxit.training.prefetch import Pieces
from pinxit.training.state import Progress, State

PATIENCE = 50  # batches in a row whose loss or gradient is not finite, before the run gives up


def step(task: Task, plan: Plan, state: State, pieces: Pieces, device: torch.device) -> dict[str, Tensor | float]:
    """One update; returns the numbers to log.

    A batch whose loss or gradient is not finite changes nothing but the counts. Raises PinxitError after many in a row.
    """
    at, rate = state.progress, learning_rate(plan, state.progress.images)
    set_rate(state.optimiser, rate)
    losses, numbers = [], Meter()
    for number, piece in enumerate(pieces):
        with autocast(plan, device):
            loss, parts = task.loss(piece, at.images + number * (plan.micro or plan.batch))
        torch.autograd.backward(loss / len(pieces))
        losses.append(loss.detach().float())
        numbers.add(parts)
    grads = [p.grad for p in trained(state.modules).values() if p.grad is not None]
    mean = torch.stack(losses).mean()
    norm = torch.nn.utils.get_total_norm(grads)
    length = float(norm + 0 * mean)
    at.images += plan.batch
    if math.isfinite(length):
        if plan.clip and length > plan.clip:
            torch._foreach_mul_(grads, plan.clip / length)
        state.optimiser.step()
        getattr(task, "after_step", lambda: None)()
        at.updates, at.skipped_in_row = at.updates + 1, 0
        state.average.update(at.updates)
    else:
        _skip(at, task.name)
    state.optimiser.zero_grad(set_to_none=True)
    means = {name: total / len(pieces) for name, total in numbers.sums.items()}
    return {"loss": mean} | means | {"lr": rate, "grad_norm": length}


def check_worth(at: Progress, plan: Plan, name: str) -> None:
    """Raise PinxitError for a run that ends among batches without a finite loss: its weights are good for nothing."""
    few = max(1, plan.images // plan.batch // 10)
    if at.updates == 0 or at.skipped_in_row > few:
        raise PinxitError(
            f"{name}: loss or gradient was not finite in the last {at.skipped_in_row} batches, so the weights are not "
            "kept; try a lower learning rate or precision=fp32."
        )


def _skip(at: Progress, name: str) -> None:
    at.skipped, at.skipped_in_row = at.skipped + 1, at.skipped_in_row + 1
    if at.skipped_in_row >= PATIENCE:
        raise PinxitError(
            f"{name}: loss or gradient was not finite {PATIENCE} batches in a row, at image {at.images}; "
            "try a lower learning rate or precision=fp32."
        )

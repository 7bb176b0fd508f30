"""What a stage of training is (`Task`) and how long and how fast it goes (`Plan`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor, nn

from pinxit.errors import UsageError
from pinxit.schema import Count, Decay, NotNegative, Positive, Whole, check_fields

if TYPE_CHECKING:
    from pinxit.training.rows import Rows
    from pinxit.types import Picture

Batch = dict[str, Tensor]


class Task(Protocol):
    """One thing to train. The loop asks it for batches and losses and knows nothing else about it.

    A task may also have a method `hot() -> list[nn.Module]` that names the modules whose `forward` is worth
    compiling (without it: all of `modules()`), a method `after_step()` that mends parameters in place after every
    update (CLIP clamps its temperature there), and a method `scores()` that measures the averaged weights whenever a
    preview is drawn.

    Its `pieces` (without it: "alike") says what cutting an update changes: nothing; "settled": what rows are
    normalised or counted with, so that a run keeps the pieces it began with; "one": the loss compares all rows with
    each other and is never cut, and the task heeds `plan.micro` itself.
    """

    @property
    def name(self) -> str:
        """What progress lines call it."""
        ...

    def modules(self) -> dict[str, nn.Module]:
        """The modules being trained, by names that stay the same for ever; their weights start from the task's seed."""
        ...

    def batch(self, rows: Rows) -> Batch:
        """CPU tensors of the pictures of `rows`: a pure function that obeys their law, called by other threads."""
        ...

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The scalar loss of the batch of `rows`, now on the training device, and numbers to log.

        Draws come from (seed, position of each row). The loss of all rows is the mean of those of its pieces.
        """
        ...

    def preview(self) -> Picture | None:
        """A picture that shows what the modules can do now (they hold the averaged weights), or None."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How one stage is trained. Lengths and intervals are counted in images seen, never in steps."""

    images: Whole  # the stage ends at the first whole batch at or past this number
    batch: Count  # pictures per update
    micro: Whole = 0  # pictures per forward pass, gradients being added up; 0: the whole batch at once
    optimiser: Literal["adamw", "muon"] = "adamw"  # muon: orthogonal momentum for the matrices inside (training.muon)
    lora: Whole = 0  # rank of additions that are trained in the weights' place; 0: the weights themselves
    lr: NotNegative = 1e-3  # highest learning rate
    final_lr: NotNegative = 0.0  # where the schedule ends
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # from lr to final_lr after the warm-up
    decay_horizon: Whole = 0  # images at which the rate reaches final_lr; 0: at the end
    warmup: Whole = 0  # images over which the rate rises from 0 to lr
    betas: tuple[Decay, ...] = (0.9, 0.999)  # Adam
    eps: Positive = 1e-8  # Adam
    decay: NotNegative = 0.0  # decoupled weight decay of matrices and kernels; gains, biases, embeddings: none
    clip: NotNegative = 0.0  # longest gradient norm; 0: no clipping
    ema: Decay = 0.999  # decay of the averaged weights; 0: no average is kept
    ema_every: Count = 1  # updates between two averagings
    precision: Literal["bf16", "fp32"] = "bf16"  # of matrix products; master weights are fp32 always
    channels_last: bool = False  # memory layout of convolution kernels
    compile: Literal["auto", "yes", "no"] = "auto"  # torch.compile; auto: on CUDA
    shard: bool = False  # weights, gradients, moments and averages cut among the ranks instead of copied to each
    recompute: bool = False  # activations of blocks made again in the backward pass instead of kept
    log_every: Whole = 0  # images between log lines; 0: 200 lines in all
    preview_every: Whole = 0  # images between previews; 0: 20 in all, at least 50 updates apart
    save_minutes: NotNegative = 5.0  # minutes between saves

    def __post_init__(self) -> None:
        check_fields(self, "plan")
        if self.micro and self.batch % self.micro:
            raise ValueError(f"micro {self.micro} must divide batch {self.batch}")
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, not {list(self.betas)}")

    def log_interval(self) -> int:
        """Images between log lines."""
        return self.log_every or max(self.batch, self.images // 200)

    def preview_interval(self) -> int:
        """Images between previews; each costs many forward passes, so a short run draws few."""
        return self.preview_every or max(50 * self.batch, self.images // 20)


def plans_in(config: object) -> Iterator[Plan]:
    """Every plan of a recipe's config."""
    if isinstance(config, Plan):
        yield config
    elif isinstance(config, tuple | list):
        for part in config:
            yield from plans_in(part)
    elif is_dataclass(config):
        for field in fields(config):
            yield from plans_in(getattr(config, field.name))


SETTLED_AT_START = ("batch", "optimiser", "lora", "betas", "eps", "ema", "ema_every")
"""Fields of a plan that a resumed run may not change; the others steer only what is still to come."""


def check_same_plan(old: Mapping[str, object], new: Mapping[str, object], where: str) -> None:
    """Refuse to continue a run under another plan. Raises UsageError naming the first field that differs."""
    defaults = {field.name: field.default for field in fields(Plan)}  # of fields that are younger than the run
    for field in SETTLED_AT_START:
        before = old.get(field, defaults[field])
        if before != new.get(field):
            raise UsageError(
                f"{where} was started with {field}={before}, not {new.get(field)}; "
                "keep the old value or train into another folder."
            )

"""What a stage of training computes (`Task`), and its hyperparameters (`Plan`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor, nn

from pinxit.errors import FieldError, UsageError
from pinxit.schema import Count, Decay, NotNegative, Positive, Whole, check_fields

if TYPE_CHECKING:
    from pinxit.training.rows import Rows
    from pinxit.types import Picture

Batch = dict[str, Tensor]


class Task(Protocol):
    """One stage of training: its modules, batches and loss, which are all that the loop knows about it.

    Optional members:

    - `modules_to_compile() -> list[nn.Module]`: the modules worth compiling; by default all of `modules()`.
    - `after_step()`: adjusts parameters in place after every update (CLIP clamps its temperature there).
    - `can_fork() -> bool`: whether `batch` may run in a forked process: it uses no GPU and no open connection. Those of
      other tasks are made by threads.
    - `scores() -> dict[str, float]`: evaluates the averaged weights whenever a preview is drawn, for the log.
    - `counts(batch) -> dict[str, Tensor]`: of what a part of the loss is a mean over, if not of rows, how many are
      in a micro-batch (tokens of captions). The means over all micro-batches of all ranks are added to each batch under
      these names, so that the loss can weigh its own part by its share.
    - `pieces`: whether it matters how a batch is split into micro-batches ("pieces"). "alike", the default: it does
      not. "settled": rows are normalised or counted per micro-batch, so that a run must keep the size it began with.
      "one": the loss compares all rows of the batch with each other (contrastive), so that it is never split; the task
      may use `plan.micro` itself.
    - `at_once: int` and `caching(rows)`, of a task that caches gradients: how many rows have activations in memory at
      a time (0: all), and a context in which it is another number, for measuring costs with a few rows.
    """

    @property
    def name(self) -> str:
        """The name of the stage in progress lines."""
        ...

    def modules(self) -> dict[str, nn.Module]:
        """The modules to train, initialised from the task's seed. Never change their names: saved states have them."""
        ...

    def batch(self, rows: Rows) -> Batch:
        """CPU tensors of the pictures of `rows`, by name.

        A pure function, called by other threads. The batch of some rows must be those rows of the whole batch (`Rows`).
        """
        ...

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The scalar loss of `batch` (that of `rows`, on the training device), and numbers to log.

        Random draws depend on (seed, position of each row) alone, and the loss of all rows must be the mean of the
        losses of the micro-batches.
        """
        ...

    def preview(self) -> Picture | None:
        """A sample picture by the modules, which hold the averaged weights during this call; or None."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """The hyperparameters of one stage. Lengths and intervals are counted in images seen, never in steps."""

    images: Whole  # the stage ends at the first whole batch at or past this number
    batch: Count  # pictures per update
    micro: Whole = 0  # pictures per micro-batch (gradient accumulation); 0: the whole batch at once
    optimiser: Literal["adamw", "muon"] = "adamw"  # muon: for inner matrices, AdamW for the rest (training.muon)
    lora: Whole = 0  # rank of LoRA additions, trained instead of the weights; 0: train the weights themselves
    lr: NotNegative = 1e-3  # highest learning rate
    final_lr: NotNegative = 0.0  # learning rate at the end of the schedule
    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # from lr to final_lr after the warm-up
    decay_horizon: Whole = 0  # images at which the rate reaches final_lr; 0: at the end
    warmup: Whole = 0  # images over which the rate rises from 0 to lr
    betas: tuple[Decay, ...] = (0.9, 0.999)  # of Adam
    eps: Positive = 1e-8  # of Adam
    decay: NotNegative = 0.0  # decoupled weight decay of matrices and kernels; gains, biases, embeddings: none
    clip: NotNegative = 0.0  # largest gradient norm; 0: no clipping
    ema: Decay = 0.999  # decay of the averaged weights (EMA); 0: no average is kept
    ema_every: Count = 1  # updates between two steps of the average
    precision: Literal["bf16", "fp32"] = "bf16"  # of products, in fp32 where bf16 is emulated; master weights are fp32
    channels_last: bool = False  # memory layout of convolution kernels; without effect where `shard` cuts them
    compile: Literal["auto", "yes", "no"] = "auto"  # torch.compile; auto: on CUDA only
    shard: bool = False  # FSDP2: weights, gradients, moments and averages sharded among ranks, not copied to each
    recompute: bool = False  # activation checkpointing: blocks run again in the backward pass, to save memory
    log_every: Whole = 0  # images between log lines; 0: 200 lines in all
    preview_every: Whole = 0  # images between previews; 0: 20 in all, at least 50 updates apart
    save_minutes: NotNegative = 5.0  # minutes between saves

    def __post_init__(self) -> None:
        check_fields(self, "plan")
        if self.micro and self.batch % self.micro:
            raise FieldError(f"micro {self.micro} must divide batch {self.batch}")
        if len(self.betas) != 2:
            raise FieldError(f"betas must be two numbers, not {list(self.betas)}")

    def log_interval(self) -> int:
        """Images between log lines."""
        return self.log_every or max(self.batch, self.images // 200)

    def preview_interval(self) -> int:
        """Images between previews; each costs many forward passes, so a short run draws few."""
        return self.preview_every or max(50 * self.batch, self.images // 20)


def plans_in(config: object) -> Iterator[Plan]:
    """Every plan in a recipe's config, however deeply nested."""
    if isinstance(config, Plan):
        yield config
    elif isinstance(config, tuple | list):
        for part in config:
            yield from plans_in(part)
    elif is_dataclass(config):
        for field in fields(config):
            yield from plans_in(getattr(config, field.name))


SETTLED_AT_START = ("batch", "optimiser", "lora", "betas", "eps", "ema", "ema_every")
"""Fields of a plan that a resumed run may not change, for the saved state depends on them; others may change."""


def check_same_plan(old: Mapping[str, object], new: Mapping[str, object], where: str) -> None:
    """Refuse to resume a run with another plan. Raises UsageError naming the first field that differs."""
    defaults = {field.name: field.default for field in fields(Plan)}  # for fields added to pinxit after the run began
    for field in SETTLED_AT_START:
        before = old.get(field, defaults[field])
        if before != new.get(field):
            raise UsageError(
                f"{where} was started with {field}={before}, not {new.get(field)}; "
                "keep the old value or train into another folder."
            )

"""FSDP2: weights, gradients, moments and averages sharded among ranks, for models that one GPU cannot hold.

A task's loss becomes the `forward` of one module, the root. Each large block inside is an FSDP unit, whose weights are
gathered when it runs and freed afterwards; everything else is gathered while the loss is computed, so that a task may
use its modules in other ways than by calling them. Results are those of unsharded training: weights are gathered in
fp32, gradients are summed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Variable

from pinxit.training.blocks import blocks_of
from pinxit.training.initial import OwnRows
from pinxit.training.local import is_sharded
from pinxit.training.parallel import Ranks
from pinxit.training.plan import Batch, Plan, Task
from pinxit.training.rows import Rows

if TYPE_CHECKING:
    from pinxit.types import Picture

UNIT = 2**18  # parameters that a block must have to be a unit

Losses = tuple[Tensor, Mapping[str, Tensor | float]]
Place = tuple[nn.Module, str, OwnRows]  # a parameter: its module, its name there, and its rows


class Root(nn.Module):
    """All modules of a task; `forward` computes the loss."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleList(task.modules().values())
        self.task = task

    def forward(self, batch: Batch, rows: Rows) -> Losses:
        loss, numbers = self.task.loss(batch, rows)
        used = [parameter for parameter in self.parameters() if parameter.requires_grad and is_unsharded(parameter)]
        if loss.requires_grad:
            # Runs at the end of the backward pass, before FSDP2's own callback, which reduces the root's gradients.
            queue: Any = Variable._execution_engine.queue_callback
            loss.register_hook(lambda _: queue(lambda: agree_on_gradients(used)))  # type: ignore[no-untyped-call]
        return loss, numbers


class Sharded:
    """`task` with its modules sharded among ranks: a `Task` like any other to the loop."""

    def __init__(self, task: Task, root: nn.Module, units: Sequence[nn.Module]) -> None:
        self.task, self.root, self.units = task, root, units
        self.name = task.name

    def __getattr__(self, name: str) -> Any:
        """Optional members of the task: `pieces`, `after_step`, `scores`, `counts`, `can_fork`."""
        return getattr(self.task, name)

    def modules(self) -> dict[str, nn.Module]:
        return self.task.modules()

    def batch(self, rows: Rows) -> Batch:
        return self.task.batch(rows)

    def modules_to_compile(self) -> list[nn.Module]:
        """Units are compiled one by one, so that gathering weights stays outside of the compiled code."""
        return list(self.units)

    def loss(self, batch: Batch, rows: Rows) -> Losses:
        result: Losses = self.root(batch, rows)
        return result

    def preview(self) -> Picture | None:
        """See `gathered`."""
        return self.task.preview()


def shard_task(task: Task, plan: Plan, ranks: Ranks) -> Task:
    """Shard a task's modules among the ranks if `plan.shard` is set and there are several; else return `task`."""
    if not (plan.shard and ranks.world > 1):
        return task
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard  # takes half a second, so not at the top

    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    units = [unit for module in task.modules().values() for unit in units_of(module)]
    root = Root(task)
    single = {parameter for parameter in root.parameters() if not parameter.ndim}  # scalars cannot be sharded
    for parameter in single:
        parameter.data = parameter.data.to(ranks.device)
    for module in task.modules().values():
        module.train()
    places = list(_on_meta(root))
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # none is changed in place
    for unit in (*units, root):
        fully_shard(unit, mesh=mesh, ignored_params=single)
        assert isinstance(unit, FSDPModule)
        unit.set_gradient_divide_factor(1.0)  # sums: the loss has been divided by the number of ranks
        unit.set_force_sum_reduction_for_comms(True)
    _fill(places, ranks.device)
    return Sharded(task, root, units)


def _on_meta(root: nn.Module) -> Iterator[Place]:
    """Replace every `OwnRows` by a parameter on the meta device, which FSDP2 can shard; yields where they were."""
    made: dict[int, nn.Parameter] = {}  # a shared parameter stays shared
    for module in root.modules():
        for name, parameter in list(module._parameters.items()):
            if isinstance(parameter, OwnRows):
                empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
                made.setdefault(id(parameter), nn.Parameter(empty, parameter.requires_grad))
                module._parameters[name] = made[id(parameter)]
                yield module, name, parameter


def _fill(places: Sequence[Place], device: torch.device) -> None:
    """Give the sharded parameters at these places the rows that this rank holds."""
    from torch.distributed.tensor import DTensor

    made: dict[int, nn.Parameter] = {}
    for module, name, rows in places:
        if id(rows) not in made:
            cut = module.get_parameter(name)
            assert isinstance(cut, DTensor)
            mesh, layout, held = cut.device_mesh, cut.placements, rows.held.to(device)
            whole = DTensor.from_local(held, mesh, layout, run_check=False, shape=cut.shape, stride=cut.stride())
            made[id(rows)] = nn.Parameter(whole, rows.requires_grad)
        module.register_parameter(name, made[id(rows)])


def units_of(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a module that are large enough to be FSDP units."""
    return blocks_of(module, lambda block: sum(parameter.numel() for parameter in block.parameters()) >= UNIT)


def is_unsharded(parameter: nn.Parameter) -> bool:
    """Whether a parameter, scalars excepted, is unsharded at the moment: gathered, or never sharded."""
    return bool(parameter.ndim) and not is_sharded(parameter)


def agree_on_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give a zero gradient to parameters used by other ranks' losses only: all ranks must reduce the same gradients."""
    if not parameters:
        return
    here = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    distributed.all_reduce(here)
    for parameter, used in zip(parameters, here.tolist(), strict=True):
        if used and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


@contextmanager
def gathered(task: Task) -> Iterator[None]:
    """Unshard all weights inside the context, for code that reads them directly. All ranks must enter it together."""
    if not isinstance(task, Sharded):
        yield
        return
    from torch.distributed.fsdp import FSDPModule

    every = [module for module in task.root.modules() if isinstance(module, FSDPModule)]
    for module in every:
        module.unshard()
        module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for module in every:
            module.set_reshard_after_forward(module is not task.root, recurse=False)
            module.reshard()

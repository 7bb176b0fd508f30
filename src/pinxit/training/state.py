"""The training state, saved as safetensors: all that a stopped run needs to go on as if it had not stopped.

Tensors are named `weights/MODULE/NAME`, `average/MODULE/NAME` (EMA, of trainable weights and buffers) and, for each
field of the optimiser, `adam/FIELD/MODULE/NAME`; the metadata hold counters and plan as JSON. A state is one file, or
if sharded a folder with a file for each rank. It is renamed into place, so that a crash leaves the old state or the new
one; the previous state is kept too, in case the disk damages the last (`training.saved_state`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pinxit.errors import CheckpointError, PinxitError
from pinxit.files import parse_json
from pinxit.schema import NotNegative, Whole, checked
from pinxit.training.draws import DRAWS
from pinxit.training.local import is_sharded, local, span
from pinxit.training.lora import additions, merged
from pinxit.training.optim import Average, trainable_parameters, weights
from pinxit.training.parallel import Ranks
from pinxit.training.saved_state import BEFORE, FILE, SavedState, exists
from pinxit.training.saving import Saving, saving_by_ranks, saving_whole
from pinxit.weights.tensor_files import not_finite

__all__ = ["BEFORE", "FILE", "Progress", "State", "exists"]


@dataclass
class Progress:
    """How far a run is. Everything else about a step follows from `images`."""

    images: Whole = 0  # pictures seen
    updates: Whole = 0  # updates made
    skipped: Whole = 0  # batches whose loss or gradient was not finite
    skipped_in_row: Whole = 0
    seconds: NotNegative = 0.0  # spent in steps, over all invocations


@dataclass
class State:
    """All objects that change during training."""

    modules: Mapping[str, nn.Module]
    optimiser: torch.optim.Optimizer
    average: Average
    progress: Progress
    machine: Mapping[str, Any]  # that of this invocation, for model cards
    piece: int = 0  # rows of a micro-batch
    whole: Collection[str] = ()  # weights that are trained themselves beside a LoRA
    ranks: Ranks = field(default_factory=Ranks)  # among which it is sharded; a single one if it is not
    mine: bool = True  # whether this rank saves it, or a part of it

    @cached_property
    def followed(self) -> list[Tensor]:
        """The persistent buffers: running means and counts, which forward passes change."""
        return [
            buffer
            for module in self.modules.values()
            for saved in [module.state_dict().keys()]
            for path, buffer in module.named_buffers()
            if path in saved
        ]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name."""
        tensors = {f"weights/{name}": tensor for name, tensor in weights(self.modules).items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.average.shadow.items()}
        for name, parameter in trainable_parameters(self.modules).items():
            for kind, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"adam/{kind}/{name}"] = value
        return tensors

    def save(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """Write the state into `folder`. If it is sharded, all ranks must call this together.

        Raises PinxitError when that is impossible or a weight is not finite; the older state is then kept.
        """
        self.prepared(folder, plan).at_once()

    def prepared(self, folder: Path, plan: Mapping[str, Any], copies: bool = False) -> Saving:
        """A save of the state as it is now, to be written later; with `copies` training may go on in the meantime.

        Raises PinxitError when a weight is not finite; the returned `Saving` raises when the folder cannot be written.
        """
        for kind, group in (("weights", weights(self.modules)), ("averages", self.average.shadow)):
            wrong = not_finite({name: local(tensor) for name, tensor in group.items()})
            if self.ranks.agreed(wrong is not None):
                raise PinxitError(
                    f"{folder}: the {kind} of {wrong or 'other ranks'} are not finite any more, so they are not saved; "
                    "remove that folder to train this stage again, with a lower learning rate."
                )
        content = {"progress": asdict(self.progress), "plan": plan, "machine": self.machine, "piece": self.piece}
        content |= {"draws": DRAWS, "whole": list(self.whole)}
        notes = {name: json.dumps(value) for name, value in content.items()}
        if self.ranks.world > 1:
            return saving_by_ranks(folder, self.tensors(), notes, self.ranks, copies)
        return saving_whole(folder, self.tensors(), notes, copies)

    def load(self, folder: Path) -> None:
        """Load everything from `folder`. Raises CheckpointError if the saved state is damaged or of another model."""
        stored = SavedState(folder)
        live = {name: tensor for name, tensor in self.tensors().items() if not name.startswith("adam/")}
        names = {name for name in stored.names() if not name.startswith("adam/")}
        if self.average.shadow:  # states of older versions have averages of frozen weights too
            still = weights(self.modules).keys() - self.average.shadow.keys()
            names -= {f"average/{name}" for name in still}
        _check_names(stored, live, names)
        for name, tensor in live.items():
            _fill(tensor, stored, name)
        self._load_moments(stored)
        self.progress.__dict__.update(asdict(read_progress(folder)))

    def _load_moments(self, stored: SavedState) -> None:
        """Load every field that the optimiser keeps for a parameter, whatever it is called."""
        parameters = trainable_parameters(self.modules)
        for key in stored.names():
            kind, _, rest = key.partition("/")
            if kind != "adam":
                continue
            field, _, name = rest.partition("/")
            shape = stored.shape(key)
            if name not in parameters or (shape and shape != list(parameters[name].shape)):
                raise CheckpointError(f"{stored.path} has '{key}' of another model.")
            like = parameters[name].detach() if shape else torch.empty((), device=local(parameters[name]).device)
            held = torch.empty_like(like, dtype=stored.kind(key))
            _fill(held, stored, key)
            self.optimiser.state[parameters[name]][field] = held


@torch.no_grad()
def _fill(tensor: Tensor, stored: SavedState, name: str) -> None:
    """Copy the stored tensor `name` into `tensor`; if that is sharded, only this rank's rows."""
    held = local(tensor)
    if held.numel() or not is_sharded(tensor):
        held.copy_(stored.read(name, span(tensor) if is_sharded(tensor) else None))


def read_notes(folder: Path) -> dict[str, str]:
    """The metadata of the saved state, JSON by name.

    `progress`, `plan`, and in newer ones `machine`, `piece`, `draws`, `whole`. Raises CheckpointError when unreadable.
    """
    return SavedState(folder).notes


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan with which the run saved in `folder` was last trained."""
    return _note(SavedState(folder), "plan")


def read_machine(folder: Path) -> dict[str, Any]:
    """The machine of the last invocation of the run saved in `folder`; empty in states of older versions."""
    return _note(SavedState(folder), "machine")


def read_progress(folder: Path) -> Progress:
    """The counters of the run saved in `folder`, zeros when there is none."""
    if not exists(folder):
        return Progress()
    stored = SavedState(folder)
    return checked(Progress, _note(stored, "progress"), f"{stored.path}: progress", CheckpointError, stored.advice)


def read_piece(folder: Path) -> int | None:
    """The rows of a micro-batch in the run saved in `folder`; None in states of older versions."""
    found = json.loads(read_notes(folder).get("piece", "null"))
    return found if isinstance(found, int) else None


def read_whole(folder: Path) -> list[str]:
    """The weights that the run saved in `folder` trains themselves beside a LoRA, by "module/name"."""
    stored = SavedState(folder)
    where = f"{stored.path}: whole"
    return parse_json(stored.notes.get("whole", "[]"), list[str], where, CheckpointError, stored.advice)


def has_current_draws(folder: Path) -> bool:
    """Whether the run saved in `folder` was made with the same scheme of random draws (`training.draws.DRAWS`)."""
    return read_notes(folder).get("draws") == json.dumps(DRAWS)


def _note(stored: SavedState, name: str) -> dict[str, Any]:
    content: dict[str, Any] = parse_json(
        stored.notes.get(name, "{}"), dict, f"{stored.path}: {name}", CheckpointError, stored.advice
    )
    return content


def read_weights(folder: Path, module: str) -> dict[str, Tensor]:
    """The weights of one module of a saved run: the averages, if they are kept, with LoRA additions merged."""
    return merged(_of_module(folder, module))


def read_additions(folder: Path, module: str) -> dict[str, tuple[Tensor, Tensor]]:
    """The LoRA additions to one module of a saved run: (down [R, I ...], up [O, R]) by the name of each weight."""
    return additions(_of_module(folder, module))


def _of_module(folder: Path, module: str) -> dict[str, Tensor]:
    stored = SavedState(folder)
    found: dict[str, Tensor] = {}
    for prefix in (f"weights/{module}/", f"average/{module}/"):
        found |= {n.removeprefix(prefix): stored.read(n) for n in stored.names() if n.startswith(prefix)}
    if not found:
        raise CheckpointError(f"{stored.path} holds no module named '{module}'.")
    return found


def _check_names(stored: SavedState, expected: Mapping[str, Tensor], names: Collection[str]) -> None:
    for name in sorted(expected.keys() ^ set(names)):
        which = "lacks" if name in expected else "has an unknown"
        raise CheckpointError(f"{stored.path} {which} '{name}': it was written for another model.")
    for name, tensor in expected.items():
        if list(tensor.shape) != stored.shape(name):
            shapes = f"{stored.shape(name)}, not {list(tensor.shape)}"
            raise CheckpointError(f"{stored.path} has '{name}' of shape {shapes}: it was written for another model.")

"""Everything a stopped run needs to go on as if it had never stopped, in one safetensors file.

Named tensors: `weights/MODULE/NAME`, `average/MODULE/NAME` of what moves, and per parameter `adam/FIELD/MODULE/NAME`;
the file's metadata hold the counters and the plan as JSON. One file, renamed into place: the old state or the new, no
mixture; beside it the one before, in case a disk loses what it took.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pinxit.errors import CheckpointError, PinxitError
from pinxit.files import parse_json
from pinxit.schema import NotNegative, Whole, checked
from pinxit.training.draws import DRAWS
from pinxit.training.lora import additions, merged
from pinxit.training.optim import Average, trained, weights
from pinxit.weights.tensor_files import not_finite, write_tensors

FILE, BEFORE = "state.safetensors", "state.before.safetensors"
AGAIN = f"put {BEFORE} in its place to go on from the save before, or remove both to start this stage again"


@dataclass
class Progress:
    """How far a run is. Everything else about a step follows from `images`."""

    images: Whole = 0  # pictures seen
    updates: Whole = 0  # updates made
    skipped: Whole = 0  # batches whose loss or gradient was not finite
    skipped_in_row: Whole = 0
    seconds: NotNegative = 0.0  # spent training, all invocations together


@dataclass
class State:
    """The named objects that change while training."""

    modules: Mapping[str, nn.Module]
    optimiser: torch.optim.Optimizer
    average: Average
    progress: Progress
    machine: Mapping[str, Any]  # that of this invocation, for model cards
    piece: int = 0  # rows that went through the modules together

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name."""
        tensors = {f"weights/{name}": tensor for name, tensor in weights(self.modules).items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.average.shadow.items()}
        for name, parameter in trained(self.modules).items():
            for field, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"adam/{field}/{name}"] = value
        return tensors

    def save(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """Write the state into `folder`.

        Raises PinxitError when that is impossible or a weight is not finite; the older state then survives.
        """
        self.prepared(folder, plan)()

    def prepared(self, folder: Path, plan: Mapping[str, Any], copies: bool = False) -> Callable[[], None]:
        """What writes the state as it is now, later; with `copies` training may go on meanwhile.

        Raises PinxitError when a weight is not finite; what is returned, when the folder cannot be written.
        """
        for kind, group in (("weights", weights(self.modules)), ("averages", self.average.shadow)):
            wrong = not_finite(group)
            if wrong is not None:
                raise PinxitError(
                    f"{folder}: the {kind} of {wrong} are not finite any more, so they are not saved; go on from the "
                    "last save with a lower learning rate."
                )
        tensors = {name: tensor.detach().to("cpu", copy=copies).contiguous() for name, tensor in self.tensors().items()}
        content = {"progress": asdict(self.progress), "plan": plan, "machine": self.machine, "piece": self.piece}
        notes = {name: json.dumps(value) for name, value in (content | {"draws": DRAWS}).items()}
        return lambda: write_tensors(folder / FILE, tensors, notes, folder / BEFORE)

    def load(self, folder: Path) -> None:
        """Take everything from the file in `folder`. Raises CheckpointError when it is damaged or of another model."""
        path = folder / FILE
        stored = _read(path)
        live = {name: tensor for name, tensor in self.tensors().items() if not name.startswith("adam/")}
        if self.average.shadow:  # older states also averaged what does not move
            still = weights(self.modules).keys() - self.average.shadow.keys()
            stored = {name: tensor for name, tensor in stored.items() if name.removeprefix("average/") not in still}
        _check_names(path, live, {name: t for name, t in stored.items() if not name.startswith("adam/")})
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(stored[name])
        self._load_moments(path, stored)
        self.progress.__dict__.update(asdict(read_progress(folder)))

    def _load_moments(self, path: Path, stored: Mapping[str, Tensor]) -> None:
        """Every field that the optimiser keeps of a parameter, whatever it is called."""
        parameters = trained(self.modules)
        for key, value in stored.items():
            kind, _, rest = key.partition("/")
            if kind != "adam":
                continue
            field, _, name = rest.partition("/")
            if name not in parameters or (value.ndim and value.shape != parameters[name].shape):
                raise CheckpointError(f"{path} has '{key}' of another model.")
            like = parameters[name] if value.ndim else torch.empty((), device=parameters[name].device)
            held = torch.empty_like(like, dtype=value.dtype).copy_(value)
            self.optimiser.state[parameters[name]][field] = held


def exists(folder: Path) -> bool:
    """Whether a run has been saved in `folder`."""
    return (folder / FILE).is_file()


def read_notes(folder: Path) -> dict[str, str]:
    """The metadata of the saved state, each JSON: `progress`, `plan`, and, younger than those, `machine`.

    Raises CheckpointError when unreadable.
    """
    path = folder / FILE
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            notes["progress"], notes["plan"]  # a KeyError means that somebody else wrote this file
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{path} is not a training state ({error}); {AGAIN}.") from error
    return notes


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan by which the run saved in `folder` was last trained."""
    return _note(folder, "plan")


def read_machine(folder: Path) -> dict[str, Any]:
    """What the last invocation of the run saved in `folder` ran on; empty where an older pinxit did not say."""
    return _note(folder, "machine")


def read_progress(folder: Path) -> Progress:
    """The counters of the run saved in `folder`, zeros when there is none."""
    if not exists(folder):
        return Progress()
    return checked(Progress, _note(folder, "progress"), f"{folder / FILE}: progress", CheckpointError, AGAIN)


def read_piece(folder: Path) -> int | None:
    """How many rows went through the modules together; None where an older pinxit did not say."""
    found = json.loads(read_notes(folder).get("piece", "null"))
    return found if isinstance(found, int) else None


def drawn_as_now(folder: Path) -> bool:
    """Whether the run saved in `folder` began with the random numbers that this pinxit draws."""
    return read_notes(folder).get("draws") == json.dumps(DRAWS)


def _note(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = parse_json(
        read_notes(folder).get(name, "{}"), dict, f"{folder / FILE}: {name}", CheckpointError, AGAIN
    )
    return content


def read_weights(folder: Path, module: str) -> dict[str, Tensor]:
    """The weights of one module of a saved run: averages of what moves, where they are kept; additions are added."""
    return merged(_of_module(folder, module))


def read_additions(folder: Path, module: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Of a run that adapts, by the name of each weight: down [R, I ...] and up [O, R] of what is added to it."""
    return additions(_of_module(folder, module))


def _of_module(folder: Path, module: str) -> dict[str, Tensor]:
    stored = _read(folder / FILE)
    found: dict[str, Tensor] = {}
    for prefix in (f"weights/{module}/", f"average/{module}/"):
        found |= {name.removeprefix(prefix): t for name, t in stored.items() if name.startswith(prefix)}
    if not found:
        raise CheckpointError(f"{folder / FILE} holds no module named '{module}'.")
    return found


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; {AGAIN}.") from error


def _check_names(path: Path, expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    for name in sorted(expected.keys() ^ stored.keys()):
        which = "lacks" if name in expected else "has an unknown"
        raise CheckpointError(f"{path} {which} '{name}': it was written for another model.")
    for name, tensor in expected.items():
        if tensor.shape != stored[name].shape:
            shapes = f"{list(stored[name].shape)}, not {list(tensor.shape)}"
            raise CheckpointError(f"{path} has '{name}' of shape {shapes}: it was written for another model.")

"""Other people's tensors under our names: every key used exactly once, or one sentence that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.weights.tensor_files import some


class Names(NamedTuple):
    """Where one of our tensors lies in another layout: whole, or as equal parts stacked along the first axis."""

    parts: tuple[str, ...]
    transposed: bool = False


def written(state: Mapping[str, Tensor], names: Callable[[str], Names]) -> dict[str, Tensor]:
    """Our tensors under others' names, in float32 on the CPU: what `renamed` reads back."""
    found: dict[str, Tensor] = {}
    for ours, tensor in state.items():
        there, whole = names(ours), tensor.detach().cpu()
        whole = whole.float() if whole.is_floating_point() else whole  # counters of batch norms are no weights
        whole = whole.T if there.transposed else whole
        parts = whole.chunk(len(there.parts)) if len(there.parts) > 1 else (whole,)
        for name, part in zip(there.parts, parts, strict=True):
            found[name] = part.clone(memory_format=torch.contiguous_format)
    return found


def renamed(
    wanted: Mapping[str, Tensor],
    names: Mapping[str, Sequence[str]],
    tensors: Mapping[str, Tensor],
    path: Path,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """The tensors of the file `path` as `wanted`, by our names and in the shapes there (the meta device will do).

    `names`: where each of ours lies there, whole or as equal parts stacked along the first axis. Leading axes of length
    one that ours have not are dropped. Raises CheckpointError for keys that are missing, left over or misshapen.
    """
    theirs = {name for parts in names.values() for name in parts}
    for what, keys in (("lacks", theirs - set(tensors)), ("has unknown", set(tensors) - theirs)):
        if keys:
            raise CheckpointError(f"{path} {what} {some(sorted(keys))}; it does not fit its config.json.")
    state = {}
    for ours, parts in names.items():
        like = wanted[ours]
        shape = [len(like) // len(parts), *like.shape[1:]]
        found = [_fitting(tensors[name], shape, name, path) for name in parts]
        state[ours] = (torch.cat(found) if len(found) > 1 else found[0]).to(dtype).contiguous()
    return state


def _fitting(tensor: Tensor, shape: list[int], name: str, path: Path) -> Tensor:
    ones = tensor.ndim - len(shape)
    if list(tensor.shape) != [1] * ones + shape:
        raise CheckpointError(f"{path} has {name} of shape {list(tensor.shape)}, not {shape}.")
    return tensor.reshape(shape)

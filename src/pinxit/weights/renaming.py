"""Renames tensors between other layouts and ours; every key is used exactly once, or an error names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.weights.tensor_files import not_finite, some


class Names(NamedTuple):
    """One of our tensors in another layout: a single name, or those of equal parts, stacked along the first axis."""

    parts: tuple[str, ...]
    transposed: bool = False

    def gathered(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Our tensor from those under these names."""
        pieces = [tensors[name] for name in self.parts]
        whole = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        return whole.T if self.transposed else whole


def by_rules(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """A name after each of the rules, (pattern, replacement), in order."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def written(state: Mapping[str, Tensor], names: Callable[[str], Names]) -> dict[str, Tensor]:
    """Our tensors under the names of another layout, in float32 on the CPU: what `renamed` reads back."""
    result: dict[str, Tensor] = {}
    for ours, tensor in state.items():
        there, whole = names(ours), tensor.detach().cpu()
        whole = whole.float() if whole.is_floating_point() else whole  # batch norms' counters stay integers
        whole = whole.T if there.transposed else whole
        parts = whole.chunk(len(there.parts)) if len(there.parts) > 1 else (whole,)
        for name, part in zip(there.parts, parts, strict=True):
            result[name] = part.clone(memory_format=torch.contiguous_format)
    return result


def renamed(
    wanted: Mapping[str, Tensor],
    names: Mapping[str, Sequence[str]],
    tensors: Mapping[str, Tensor],
    path: Path,
    dtype: torch.dtype | None = torch.float32,
) -> dict[str, Tensor]:
    """The `tensors` of the file `path`, by our names and with the shapes of `wanted` (which may be on the meta device).

    `names`: for each of ours its name in the file, or those of equal parts, stacked along the first axis. Additional
    leading axes of length one are dropped. `dtype` None keeps the file's types, so that what is neither stacked nor
    transposed stays mapped from a safetensors file: all of it is read once, and the system may forget it again. Raises
    CheckpointError for keys that are missing, unknown or misshapen, and for values that are not finite.
    """
    theirs = {name for parts in names.values() for name in parts}
    for what, keys in (("lacks", theirs - set(tensors)), ("has unknown", set(tensors) - theirs)):
        if keys:
            raise CheckpointError(f"{path} {what} {some(sorted(keys))}; it does not fit its config.json.")
    state = {}
    for ours, parts in names.items():
        like = wanted[ours]
        shape = [len(like) // len(parts), *like.shape[1:]]
        pieces = [_fitting(tensors[name], shape, name, path) for name in parts]
        whole = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        state[ours] = whole.to(dtype or whole.dtype).contiguous()
        if not_finite({ours: state[ours]}) is not None:
            raise CheckpointError(f"{path} has weights that are not finite ({some(parts)}): it is damaged.")
    return state


def _fitting(tensor: Tensor, shape: list[int], name: str, path: Path) -> Tensor:
    ones = tensor.ndim - len(shape)
    if list(tensor.shape) != [1] * ones + shape:
        raise CheckpointError(f"{path} has {name} of shape {list(tensor.shape)}, not {shape}.")
    return tensor.reshape(shape)

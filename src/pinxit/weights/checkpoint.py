"""Checkpoint folders: everything a recipe needs to paint, readable without executing anything.

pinxit.json          format, recipe, each part's config, each file's size and SHA-256, provenance
PART.safetensors     or PART-00001.safetensors ... when one file would exceed the shard limit
tokenizer.json ...   extra files, copied as they are
README.md            the model card
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pinxit import __version__
from pinxit.config import from_dict, to_dict
from pinxit.errors import CheckpointError, PinxitError
from pinxit.files import atomic_folder, write_bytes, write_json
from pinxit.texts import counted
from pinxit.weights.manifest import CARD, FORMAT, MANIFEST, check_file, file_record, read_manifest
from pinxit.weights.tensor_files import not_finite, write_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

Store = Literal["bf16", "int8"]

SHARD_BYTES = 15 * 2**20

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One model of a recipe: its config dataclass and its weights."""

    config: Any
    state: Mapping[str, Tensor]
    exact: bool = False  # stored without rounding, for statistics that were measured and not trained


def save_checkpoint(
    folder: Path,
    recipe: str,
    parts: Mapping[str, Part],
    *,
    extra_files: Mapping[str, bytes] | None = None,
    provenance: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    card: str = "",
    store: Store = "bf16",
) -> None:
    """Write a checkpoint folder; floating-point weights are stored as bfloat16 or int8 (`weights.int8`).

    Parts that are `exact` keep their type. `settings` are the recipe's own (size, default guidance ...). The folder is
    written next to an older one, and replaces it when it is complete. Raises PinxitError for weights that are not
    finite, and when it cannot be written.
    """
    for name, part in parts.items():
        wrong = not_finite(part.state)
        if wrong is not None:
            raise PinxitError(
                f"part {name} has weights that are not finite ({wrong}): no checkpoint is written to {folder}; "
                "train it again with a lower learning rate."
            )
    with atomic_folder(folder, _owned(folder)) as new:
        files: dict[str, dict[str, Any]] = {}
        described: dict[str, Any] = {}
        for name, part in parts.items():
            names = _write_shards(new, name, part.state, None if part.exact else store)
            files |= {file: file_record(new / file) for file in names}
            described[name] = {"config": to_dict(part.config), "files": names}
        for name, data in (extra_files or {}).items():
            write_bytes(new / name, data)
            files[name] = file_record(new / name)
        if card:
            write_bytes(new / CARD, card.encode())
        manifest = {
            "format": FORMAT,
            "pinxit": __version__,
            "recipe": recipe,
            "settings": dict(settings or {}),
            "parts": described,
            "files": files,
            "provenance": dict(provenance or {}),
        }
        write_json(new / MANIFEST, manifest)


def _owned(folder: Path) -> list[str]:
    """The files of an older checkpoint, which are replaced; in any other folder only those that are always written."""
    if not (folder / MANIFEST).is_file():
        return [MANIFEST, CARD]
    with suppress(CheckpointError):
        return [MANIFEST, CARD, *read_manifest(folder / MANIFEST)["files"]]
    return [MANIFEST, CARD]


def _write_shards(folder: Path, part: str, state: Mapping[str, Tensor], store: Store | None) -> list[str]:
    import torch

    from pinxit.weights.int8 import packed

    stored = {name: tensor.detach().cpu() for name, tensor in state.items()}
    if store == "int8":
        stored = packed(stored)
    elif store == "bf16":
        stored = {name: t.to(torch.bfloat16) if t.is_floating_point() else t for name, t in stored.items()}
    stored = {name: tensor.contiguous() for name, tensor in stored.items()}
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD_BYTES - 2**16  # the header also counts
    for name, tensor in stored.items():
        if shards[-1] and tensor.nbytes > room:
            shards.append({})
            room = SHARD_BYTES - 2**16
        shards[-1][name] = tensor
        room -= tensor.nbytes
    names = []
    for index, shard in enumerate(shards, 1):
        names.append(f"{part}.safetensors" if len(shards) == 1 else f"{part}-{index:05d}.safetensors")
        write_tensors(folder / names[-1], shard)
    return names


def fingerprint(model: nn.Module) -> str:
    """Sixteen hex digits that change with any weight."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint folder whose files have been checked against the manifest."""

    folder: Path
    recipe: str
    parts: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with any weight, config or tokenizer."""
        content = json.dumps([self.parts, self.files, self.settings], sort_keys=True, default=dict)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def config(self, part: str, kind: type[T]) -> T:
        """The config of `part` as the dataclass `kind`."""
        return from_dict(kind, dict(self._part(part)["config"]), f"{self.folder / MANIFEST}: {part}")

    def state(self, part: str) -> dict[str, Tensor]:
        """Every tensor of `part`, in bfloat16, or in float32 where it was stored as int8 or exactly."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from pinxit.weights.int8 import unpacked

        state: dict[str, Tensor] = {}
        for name in self._part(part)["files"]:
            try:
                state |= load_file(self.folder / name)
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{self.folder / name} cannot be read as safetensors: {error}.") from error
        return unpacked(state)

    def load_into(self, part: str, module: nn.Module) -> None:
        """Load the weights of `part` into `module`.

        Raises CheckpointError unless all names, shapes and kinds of numbers match and all weights are finite.
        """
        state, expected = self.state(part), module.state_dict()
        missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
        shapes = [k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape]
        kinds = [k for k in expected.keys() & state.keys() if _is_real(expected[k]) != _is_real(state[k])]
        wrong = {"lacks": missing, "has unknown": unknown, "has of another shape": shapes, "has of another type": kinds}
        for what, keys in wrong.items():
            if keys:
                raise CheckpointError(
                    f"{self.folder}: part {part} {what} {counted(len(keys), 'weight')} such as '{keys[0]}'; "
                    "the checkpoint was made for another model."
                )
        strange = not_finite(state)
        if strange is not None:
            raise CheckpointError(f"{self.folder}: part {part} has weights that are not finite ({strange}).")
        module.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in state.items()})

    def _part(self, part: str) -> Mapping[str, Any]:
        if part not in self.parts:
            raise CheckpointError(f"{self.folder} is a checkpoint of {self.recipe} without a part named '{part}'.")
        return self.parts[part]


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def open_checkpoint(folder: Path, recipe: str | None = None) -> Checkpoint:
    """Open and check a checkpoint folder.

    Raises CheckpointError, in one sentence, when the folder is missing, is no checkpoint, is of another recipe or
    format, or when a file is missing, truncated or altered.
    """
    if not folder.is_dir():
        raise CheckpointError(f"there is no checkpoint folder {folder}.")
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{folder} is not a checkpoint: it has no {MANIFEST}.")
    data = read_manifest(path)
    checkpoint = Checkpoint(folder, data["recipe"], data["parts"], data["files"], data["settings"], data["provenance"])
    if recipe is not None and checkpoint.recipe != recipe:
        raise CheckpointError(f"{folder} holds a checkpoint of {checkpoint.recipe}, not {recipe}.")
    for name, expected in checkpoint.files.items():
        check_file(folder / name, expected)
    return checkpoint

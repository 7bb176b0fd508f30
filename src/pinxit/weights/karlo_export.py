"""Writes fine-tuned networks of Karlo for diffusers: the published folder with other weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pinxit.models.unet_config import UNetConfig
from pinxit.weights.diffusers_unet import diffusers_names
from pinxit.weights.karlo import DECODER, PRIOR, PROJECTION, TOKENS, by_channels
from pinxit.weights.karlo_names import decoder_names, prior_names
from pinxit.weights.peft_export import Pair
from pinxit.weights.renaming import Names, written
from pinxit.weights.tensor_files import DIFFUSERS_FILES, first_of, read_tensors, write_tensors


def folders(part: str, name: str, config: UNetConfig | None) -> tuple[str, Names]:
    """The folder of Karlo's that holds our tensor `name` of a network, and its name there."""
    if part == PRIOR:
        return PRIOR, Names(prior_names(name))
    assert config is not None
    if part != DECODER:
        return part, Names(diffusers_names(name, config))
    unet, projection = decoder_names(config, [name])
    return (DECODER, Names(unet[name])) if name in unet else (PROJECTION, Names(projection[name]))


def save_karlo(base: Path, states: Mapping[str, tuple[Mapping[str, Tensor], UNetConfig | None]], out: Path) -> None:
    """Copy Karlo's folder `base` to `out`, with the weights of some networks replaced, in float32.

    `states`: by prior, decoder, super_res_first and super_res_last our weights, and for a U-Net its config. Other
    tensors in the same files, such as the embeddings' mean, are kept.
    """
    by_folder: dict[str, dict[str, Tensor]] = {}
    for part, (state, config) in states.items():
        for name, tensor in state.items():
            folder, there = folders(part, name, config)
            ours = by_channels(tensor, config) if config is not None and name.startswith(TOKENS) else tensor
            by_folder.setdefault(folder, {}).update(written({name: ours}, {name: there}.__getitem__))
    left = {base / folder / file for folder in by_folder for file in _weights(base / folder)}
    if out.resolve().is_relative_to(base.resolve()):  # what holds `out` is no part of Karlo, and would hold itself
        left.add(base / out.resolve().relative_to(base.resolve()).parts[0])
    shutil.copytree(base, out, ignore=lambda at, names: [n for n in names if Path(at) / n in left], dirs_exist_ok=True)
    for folder, tensors in by_folder.items():
        before = read_tensors(first_of(base / folder, DIFFUSERS_FILES))
        shaped = {name: tensor.view(before[name].shape) for name, tensor in tensors.items()}
        kept = {name: tensor.float().contiguous() for name, tensor in before.items() if name not in shaped}
        write_tensors(out / folder / DIFFUSERS_FILES[0], kept | shaped, {"format": "pt"})


def cut_additions(
    part: str, pairs: Mapping[str, Pair], config: UNetConfig | None
) -> dict[str, tuple[dict[str, Pair], dict[str, Names]]]:
    """The LoRA pairs of one network by the folder of Karlo's that they belong to, and their weights' names there."""
    by_folder: dict[str, tuple[dict[str, Pair], dict[str, Names]]] = {}
    for name, (down, up) in pairs.items():
        folder, there = folders(part, name, config)
        rows = by_channels(up, config) if config is not None and name.startswith(TOKENS) else up
        of_folder, names = by_folder.setdefault(folder, ({}, {}))
        of_folder[name], names[name] = (down, rows), there
    return by_folder


def _weights(folder: Path) -> list[str]:
    """Files of a network besides its config.json."""
    return [path.name for path in folder.iterdir() if path.name.startswith("diffusion_pytorch_model")]

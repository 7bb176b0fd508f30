"""OpenAI's published discrete VAE (github.com/openai/DALL-E, modified MIT licence) from a local folder.

The release is two files, `encoder.pkl` and `decoder.pkl`: whole pickled modules. Nothing of them is executed
(see `torch_archive`). The same weights as plain state dicts (`encoder.pt`, `encoder.safetensors`, ...) work too.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.weights.tensor_files import read_tensors, some

log = logging.getLogger(__name__)
_ENDINGS = (".pkl", ".safetensors", ".pt", ".pth", ".bin")


def load_openai_dvae(folder: Path | str, size: int = 256) -> DVAE:
    """The `DVAE` whose weights lie in `folder`, on the CPU in float32, in evaluation mode.

    Widths are inferred from the weights' shapes; `size` is the side in pixels of the pictures it is meant for.
    Logs one line that says what was recognised. Raises CheckpointError, naming files or keys, when a file is
    missing or unreadable, or a key is missing, unknown or of the wrong shape.
    """
    folder = Path(folder)
    halves = {
        half: (path := _find(folder, half), read_tensors(path, packages=("dall_e",))) for half in ("encoder", "decoder")
    }
    config = _recognise(halves["encoder"][1], halves["decoder"][1], size, folder)
    with torch.device("meta"):
        model = DVAE(config)
    state = {}
    for half, (path, tensors) in halves.items():
        state.update(_renamed(tensors, half, model, path))
    model.load_state_dict(state, assign=True)
    model.eval().requires_grad_(False)
    count = sum(p.numel() for p in model.parameters())
    log.info(
        "OpenAI discrete VAE from %s: %d codes, 1 per %d x %d pixels, %d groups of %d blocks, %s parameters.",
        folder, config.codes, config.downscale, config.downscale, config.groups, config.blocks, f"{count:,}",
    )  # fmt: skip
    return model


def key_table(model: DVAE, half: str) -> dict[str, str]:
    """OpenAI's key of every weight of one half ("encoder" or "decoder") -> our key in the model's state dict."""
    return {_theirs(name): f"{half}.{name}" for name in getattr(model, half).state_dict()}


def _theirs(name: str) -> str:
    """groups.0.1.residual.2.weight -> blocks.group_1.block_2.res_path.conv_3.w"""
    *path, leaf = name.split(".")
    leaf = {"weight": "w", "bias": "b"}[leaf]
    if path[0] == "groups":
        group, block = int(path[1]) + 1, int(path[2]) + 1
        inner = "id_path" if path[3] == "identity" else f"res_path.conv_{int(path[4]) + 1}"
        return f"blocks.group_{group}.block_{block}.{inner}.{leaf}"
    return f"blocks.input.{leaf}" if path[0] == "input" else f"blocks.output.conv.{leaf}"


def _renamed(tensors: dict[str, Tensor], half: str, model: DVAE, path: Path) -> dict[str, Tensor]:
    table = key_table(model, half)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    missing = sorted(set(table) - set(tensors))
    unknown = sorted(set(tensors) - set(table))
    wrong = sorted(k for k in table if k in tensors and tuple(tensors[k].shape) != shapes[table[k]])
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("has wrongly shaped", wrong)):
        if keys:
            raise CheckpointError(f"{path} {what} {some(keys)}; it is not half of an OpenAI discrete VAE.")
    return {ours: tensors[theirs].float().contiguous() for theirs, ours in table.items()}


def _recognise(encoder: dict[str, Tensor], decoder: dict[str, Tensor], size: int, folder: Path) -> DVAEConfig:
    blocks = [key.split(".")[1:3] for key in encoder if key.startswith("blocks.group_")]
    ends = [tensors.get(key) for tensors in (encoder, decoder) for key in ("blocks.input.w", "blocks.output.conv.w")]
    widths = [0 if end is None or end.ndim != 4 else len(end) for end in ends]
    if not blocks or not all(widths):
        raise CheckpointError(f"{folder} holds no OpenAI discrete VAE: its keys are {some(sorted(encoder))}.")
    return DVAEConfig(
        size=size,
        channels=widths[0],
        n_init=widths[2],
        groups=len({group for group, _ in blocks}),
        blocks=len({block for _, block in blocks}),
        codes=widths[1],
    )


def _find(folder: Path, half: str) -> Path:
    for ending in _ENDINGS:
        if (path := folder / f"{half}{ending}").is_file():
            return path
    raise CheckpointError(f"{folder} has no {half}.pkl; put OpenAI's encoder.pkl and decoder.pkl there.")

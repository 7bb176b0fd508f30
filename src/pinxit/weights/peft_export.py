"""Writes LoRA weights (`training.lora`) as peft reads them: an adapter for the same network in another library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pinxit.files import write_json
from pinxit.weights.renaming import Names
from pinxit.weights.tensor_files import write_tensors

ADAPTER, ADAPTER_CONFIG = "adapter_model", "adapter_config.json"  # what peft calls its files

Pair = tuple[Tensor, Tensor]
"""down [R, I ...] and up [O, R] of a weight W + up @ down."""


def save_adapter(pairs: Mapping[str, Pair], names: Callable[[str], Names], folder: Path, base: str = "") -> None:
    """Write the pairs, by our names of the weights, as a folder for `peft.PeftModel.from_pretrained`.

    The pair of a packed weight (such as qkv) is split as its rows are. `base`: the model that the adapter belongs to.
    """
    tensors: dict[str, Tensor] = {}
    modules: list[str] = []
    for ours, (down, up) in pairs.items():
        there = names(ours)
        if there.transposed:
            down, up = up.T, down.T
        for name, rows in zip(there.parts, up.chunk(len(there.parts)), strict=True):
            modules.append(name.removesuffix(".weight"))
            place, kernel = f"base_model.model.{modules[-1]}", (1,) * (down.ndim - 2)
            tensors[f"{place}.lora_A.weight"] = _own(down)
            tensors[f"{place}.lora_B.weight"] = _own(rows.reshape(*rows.shape, *kernel))
    rank = len(next(iter(tensors.values())))
    about = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": f"({'|'.join(map(re.escape, modules))})",
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / f"{ADAPTER}.safetensors", tensors, {"format": "pt"})
    write_json(folder / ADAPTER_CONFIG, about)


def _own(tensor: Tensor) -> Tensor:
    """A copy that shares no memory with others, in float32."""
    return tensor.detach().float().clone(memory_format=torch.contiguous_format)

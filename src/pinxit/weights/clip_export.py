"""Our CLIP as transformers reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.files import write_json
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.weights.clip_look import PIL
from pinxit.weights.clip_names import hf_names
from pinxit.weights.tensor_files import write_tensors


def save_transformers_clip(model: CLIP, folder: Path) -> None:
    """Write `model` as a folder for `transformers.CLIPModel`: config.json, model.safetensors, preprocessor_config.json.

    Raises CheckpointError for a ModifiedResNet, which transformers does not have.
    """
    if model.fitting.resized == "longer":
        raise CheckpointError("transformers has no CLIP that sees whole pictures on a ground of grey.")
    if model.config.vision.stages:
        raise CheckpointError("transformers has no CLIP with a ResNet: this model cannot be written in its layout.")
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", _renamed(model), {"format": "pt"})
    write_json(folder / "config.json", _described(model.config))
    write_json(folder / "preprocessor_config.json", _preprocessing(model))


def _renamed(model: CLIP) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for ours, tensor in model.state_dict().items():
        names = hf_names(ours)
        whole = tensor.detach().float().cpu()
        whole = whole.T if names.transposed else whole
        parts = whole.chunk(len(names.parts)) if len(names.parts) > 1 else (whole,)
        for name, part in zip(names.parts, parts, strict=True):
            state[name] = part.clone(memory_format=torch.contiguous_format)
    return state


def _described(config: CLIPConfig) -> dict[str, Any]:
    text = {"vocab_size": config.text.vocab, "max_position_embeddings": config.text.tokens}
    text |= {"bos_token_id": config.text.eot - 1, "eos_token_id": config.text.eot, "pad_token_id": 0}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed,
        "vision_config": _tower(config.vision, config)
        | {"image_size": config.vision.size, "patch_size": config.vision.patch},
        "text_config": _tower(config.text, config) | text,
    }


def _tower(tower: CLIPVisionConfig | CLIPTextConfig, config: CLIPConfig) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": 4 * tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": "quick_gelu" if config.activation == "quickgelu" else "gelu",
        "projection_dim": config.embed,
        "layer_norm_eps": 1e-5,
    }


def _preprocessing(model: CLIP) -> dict[str, Any]:
    config, fitting = model.config, model.fitting
    side = config.vision.size
    resized = fitting.side or side
    return {
        "image_processor_type": "CLIPImageProcessor",
        "image_mean": config.mean,
        "image_std": config.std,
        "size": {"shortest_edge": resized} if fitting.resized == "shorter" else {"height": resized, "width": resized},
        "crop_size": {"height": side, "width": side},
        "resample": PIL.index(fitting.method),
        "do_resize": True,
        "do_center_crop": True,
        "do_normalize": True,
    }

"""Writes our CLIP in the formats of transformers and open_clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.files import write_json
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.weights.clip_names import hf_names, openai_names
from pinxit.weights.clip_preprocessing import PIL
from pinxit.weights.renaming import written
from pinxit.weights.tensor_files import write_tensors

RESNET_HEAD = 64  # channels of an attention head in a ResNet's attention pooling


def save_transformers_clip(model: CLIP, folder: Path) -> None:
    """Write `model` as a folder for `transformers.CLIPModel`: config.json, model.safetensors, preprocessor_config.json.

    Raises CheckpointError for a ModifiedResNet and for padded pictures, which transformers' CLIP does not have.
    """
    if model.fitting.resized == "longer":
        raise CheckpointError("transformers has no CLIP that sees whole pictures on a ground of grey.")
    if model.config.vision.stages:
        raise CheckpointError("transformers has no CLIP with a ResNet: this model cannot be written in its layout.")
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", written(model.state_dict(), hf_names), {"format": "pt"})
    write_json(folder / "config.json", _described(model.config))
    write_json(folder / "preprocessor_config.json", _preprocessing(model))


def save_open_clip(model: CLIP, folder: Path) -> None:
    """Write `model` as a folder for `open_clip.create_model_from_pretrained("local-dir:FOLDER")`.

    Raises CheckpointError for preprocessing or layers that open_clip does not have.
    """
    config, fitting = model.config, model.fitting
    if fitting.resized == "both" or fitting.side not in (None, config.vision.size):
        raise CheckpointError("open_clip has no way to resize pictures as this model wants them.")
    if config.vision.mixing:
        raise CheckpointError("open_clip has no ResNet with transformer blocks over its last map.")
    folder.mkdir(parents=True, exist_ok=True)
    weights = written(model.state_dict(), openai_names)
    write_tensors(folder / "open_clip_model.safetensors", weights, {"format": "pt"})
    vision: dict[str, Any] = {"image_size": config.vision.size, "width": config.vision.width}
    if config.vision.stages:
        vision |= {"layers": list(config.vision.stages), "head_width": RESNET_HEAD}
    else:
        vision |= {"layers": config.vision.layers, "patch_size": config.vision.patch}
        vision["head_width"] = config.vision.width // config.vision.heads
    text: dict[str, Any] = {"context_length": config.text.tokens, "vocab_size": config.text.vocab}
    text["width"] = config.text.width
    text |= {"heads": config.text.heads, "layers": config.text.layers}
    if config.text.eot != config.text.vocab - 1:  # else it pools at the largest id
        text |= {"pool_type": "eos", "eos_id": config.text.eot}
    about = {"embed_dim": config.embed, "quick_gelu": config.activation == "quickgelu"}
    look: dict[str, Any] = {"mean": config.mean, "std": config.std, "size": [config.vision.size] * 2, "mode": "RGB"}
    look |= {"interpolation": "bilinear" if fitting.method == "bilinear" else "bicubic", "fill_color": fitting.fill}
    look["resize_mode"] = {"shorter": "shortest", "longer": "longest"}[fitting.resized]
    towers = {"vision_cfg": vision, "text_cfg": text}
    write_json(folder / "open_clip_config.json", {"model_cfg": about | towers, "preprocess_cfg": look})


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

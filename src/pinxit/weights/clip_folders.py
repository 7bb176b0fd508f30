"""Reads CLIPs in transformers' layout: whole, or with a folder for each tower, as in diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pinxit.errors import CheckpointError, UsageError
from pinxit.files import read_json
from pinxit.models.clip import MAX_LOGIT_SCALE, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.layers import Activation
from pinxit.schema import checked
from pinxit.types import Fitting
from pinxit.weights.clip_names import alone, hf_names
from pinxit.weights.clip_preprocessing import transformers_preprocessing
from pinxit.weights.clip_settings import DEFAULTS, TextSettings, TransformersSettings, VisionSettings
from pinxit.weights.json_files import json_object
from pinxit.weights.renaming import Names
from pinxit.weights.tensor_files import first_of, read_tensors, some

HF_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
HF_BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
PROCESSOR = "preprocessor_config.json"
ACTIVATIONS: dict[str, Activation] = {"quick_gelu": "quickgelu", "gelu": "gelu"}  # by transformers' names


@dataclass(frozen=True)
class RecognisedClip:
    """The weights of a CLIP whose layout was recognised, before its tensors are renamed."""

    layout: str
    config: CLIPConfig
    tensors: Mapping[str, Tensor]
    names: Callable[[str], Names]
    ignored: tuple[str, ...] = ()
    fitting: Fitting = field(default_factory=Fitting)
    text: Path | None = None  # the folder of the text tower, if it has one of its own

    def holds(self, key: str, path: Path) -> Path:
        """The file or folder to name where `key` of its `tensors` is wrong; `path`: where the CLIP lies."""
        return self.text if self.text is not None and key.startswith("text") else path


def whole_clip(folder: Path) -> RecognisedClip:
    """The CLIP of a folder with a config.json. Raises CheckpointError when it is no CLIP, or an unsupported one."""
    where = folder / "config.json"
    described = read_json(where, TransformersSettings, CheckpointError)
    if described.get("model_type") != "clip":
        raise CheckpointError(f"{where} describes a {described.get('model_type')} model, not a clip.")
    vision, text = (tower_settings(described, tower, where) for tower in ("vision", "text"))
    weights = first_of(folder, HF_FILES)
    preprocessing = transformers_preprocessing(folder / PROCESSOR, vision["image_size"])
    config = _from_transformers(
        vision, text, described.get("projection_dim", 512), preprocessing.colours, (where, where)
    )
    return RecognisedClip(
        "transformers' CLIP", config, read_tensors(weights), hf_names, HF_BUFFERS, preprocessing.fitting
    )


def clip_in_parts(text: Path, vision: Path, preprocessing: Path) -> RecognisedClip:
    """The CLIP of two tower folders; `preprocessing`: that of its image processor.

    Raises CheckpointError as `whole_clip` does.
    """
    (of_text, read), (of_vision, seen) = _tower_alone(text, "text"), _tower_alone(vision, "vision")
    where = vision / "config.json"
    shown = transformers_preprocessing(preprocessing / PROCESSOR, of_vision["image_size"])
    config = _from_transformers(
        of_vision, of_text, of_vision.get("projection_dim", 512), shown.colours, (where, text / "config.json")
    )
    tensors = read | seen
    tensors["logit_scale"] = torch.tensor(MAX_LOGIT_SCALE)  # in neither folder; OpenAI's trained to the maximum
    return RecognisedClip("transformers' CLIP in two parts", config, tensors, hf_names, HF_BUFFERS, shown.fitting, text)


def _tower_alone(folder: Path, tower: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings and the tensors of a tower's folder. Raises CheckpointError for a key of the other tower."""
    where = folder / "config.json"
    own = json_object(where)
    if own.get("model_type") != f"clip_{tower}_model":
        raise CheckpointError(f"{where} describes no clip_{tower}_model of transformers.")
    tensors = alone(read_tensors(first_of(folder, HF_FILES)), tower)
    kept = f"{'visual' if tower == 'vision' else tower}_projection.weight"
    if others := [name for name in tensors if name != kept and not name.startswith(f"{tower}_model.")]:
        raise CheckpointError(f"{folder} has unknown {some(sorted(others))}; it is no {tower} tower alone.")
    return tower_settings({f"{tower}_config": own}, tower, where), tensors


def tower_settings(described: Mapping[str, Any], tower: str, where: Path) -> dict[str, Any]:
    """A tower's settings: transformers' defaults, overridden by *_config, and that by older exports' *_config_dict.

    Raises CheckpointError for a setting of another type.
    """
    settings = (
        DEFAULTS[tower] | (described.get(f"{tower}_config") or {}) | (described.get(f"{tower}_config_dict") or {})
    )
    kind: Any = VisionSettings if tower == "vision" else TextSettings
    try:
        checked(kind, settings, f"{tower}_config", CheckpointError)
    except CheckpointError as cause:
        raise CheckpointError(f"{where}: {cause}") from cause
    return settings


def _from_transformers(
    vision: dict[str, Any],
    text: dict[str, Any],
    embed: int,
    preprocessing: Mapping[str, tuple[float, ...]],
    places: tuple[Path, Path],  # the files of vision's and of text's settings, or the same one twice
) -> CLIPConfig:
    acts = [activation_of(tower, where) for tower, where in zip((vision, text), places, strict=True)]
    if acts[0] != acts[1]:
        raise CheckpointError(f"{places[1]} names the activation {text['hidden_act']}, and vision's is another.")
    size, patch = vision["image_size"], vision["patch_size"]
    vision_config = CLIPVisionConfig(size=size, patch=patch, **_tower(vision))
    return config_of(places[0], embed, vision_config, text_config(text), acts[0], preprocessing)


def activation_of(tower: Mapping[str, Any], where: Path) -> Activation:
    """The activation of a tower's settings. Raises CheckpointError for a tower with layers that our CLIP lacks."""
    if tower["intermediate_size"] != 4 * tower["hidden_size"] or tower["layer_norm_eps"] != 1e-5:
        raise CheckpointError(f"{where}: CLIP's towers have MLPs four times as wide and norms with eps 1e-5.")
    if tower["hidden_act"] not in ACTIVATIONS:
        raise CheckpointError(
            f"{where} names the activation {tower['hidden_act']}; pinxit knows {' and '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[tower["hidden_act"]]


def text_config(text: Mapping[str, Any]) -> CLIPTextConfig:
    """The config of a text tower's settings."""
    # Old configs say 2, which is wrong: text is then pooled at its largest id, which is EOT, the vocabulary's last.
    eot = text["vocab_size"] - 1 if text["eos_token_id"] == 2 else text["eos_token_id"]
    return CLIPTextConfig(vocab=text["vocab_size"], tokens=text["max_position_embeddings"], eot=eot, **_tower(text))


def config_of(
    where: Path,
    embed: int,
    vision: CLIPVisionConfig,
    text: CLIPTextConfig,
    activation: Activation,
    preprocessing: Mapping[str, tuple[float, ...]],
) -> CLIPConfig:
    """The `CLIPConfig` of these parts. Raises CheckpointError if they do not fit each other."""
    try:
        return CLIPConfig(embed, vision, text, activation, **preprocessing)
    except UsageError as cause:
        raise CheckpointError(f"{where}: {cause}") from cause


def _tower(described: Mapping[str, Any]) -> dict[str, Any]:
    names = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
    return {ours: described[theirs] for ours, theirs in names.items()}

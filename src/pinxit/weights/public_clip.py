"""Reads published CLIP weights from a local path: OpenAI's archives, transformers' folders, open_clip's folders.

Nothing is executed and nothing is downloaded. Every key of a file is used exactly once, or reading ends with an error
that names it; one line in the log says what was recognised.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pinxit.errors import CheckpointError, UsageError
from pinxit.files import read_json
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.models.layers import Activation
from pinxit.texts import counted
from pinxit.weights.clip_folders import RecognisedClip, clip_in_parts, config_of, whole_clip
from pinxit.weights.clip_names import openai_names
from pinxit.weights.clip_preprocessing import open_clip_preprocessing
from pinxit.weights.clip_settings import (
    OPEN_CLIP_TEXT,
    OPEN_CLIP_VISION,
    OpenClipSettings,
    check_settings,
)
from pinxit.weights.tensor_files import first_of, not_finite, read_tensors, some

log = logging.getLogger(__name__)
ARCHIVE_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # OpenAI's archives hold them as tensors
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
OPENAI_HEAD = 64  # channels of a head in every published model
OPEN_CLIP_TEXT_HEADS, OPEN_CLIP_EOS = 8, 2  # open_clip's defaults, whatever the width and the vocabulary


def load_public_clip(
    path: Path, activation: Activation | None = None, dtype: torch.dtype | None = torch.float32
) -> CLIP:
    """The CLIP whose weights lie at `path` (a file or a folder), on the CPU, in evaluation mode.

    `activation` is only needed when the files do not say it; `dtype` is explained at `renaming.renamed`. Raises
    CheckpointError when a file is missing or unreadable, of another family, or when a key is missing, unknown or of the
    wrong shape.
    """
    return _loaded(recognise(path, activation), path, dtype)


def check_activation(asked: Activation | None, stated: Activation, name: object) -> None:
    """Raise UsageError where an activation is `asked` of weights that state another one: they are run by their own."""
    if asked not in (None, stated):
        raise UsageError(f"{name} states its activation, {stated}: it cannot be run with --activation {asked}.")


def load_clip_in_parts(text: Path, vision: Path, preprocessing: Path) -> CLIP:
    """The CLIP whose towers have folders of their own, as in the pipelines of diffusers.

    `preprocessing`: the folder of its image processor. Raises CheckpointError as `load_public_clip` does.
    """
    return _loaded(clip_in_parts(text, vision, preprocessing), vision, torch.float32)


def _loaded(recognised: RecognisedClip, path: Path, dtype: torch.dtype | None) -> CLIP:
    with torch.device("meta"):
        model = CLIP(recognised.config)
    state = _ours(model, recognised, path, dtype)
    wrong = not_finite(state)
    if wrong is not None:
        where = recognised.holds(recognised.names(wrong).parts[0], path)
        raise CheckpointError(f"{where} has weights that are not finite ({wrong}): it is damaged.")
    model.load_state_dict(state, assign=True)
    for name in ("mean", "std"):
        setattr(model, name, torch.tensor(getattr(recognised.config, name)).view(3, 1, 1))
    model.fitting = recognised.fitting
    count = sum(p.numel() for p in model.parameters())
    vision = recognised.config.vision
    tower = (
        f"ResNet {vision.stages}"
        if vision.stages
        else f"ViT of {counted(vision.layers, 'layer')}, patch {vision.patch}"
    )
    shape = f"{tower}, {vision.size} px, {recognised.config.activation}, {count:,} parameters"
    log.info("%s from %s: %s.", recognised.layout, path, shape)
    return model.eval().requires_grad_(False)


def recognise(path: Path, activation: Activation | None = None) -> RecognisedClip:
    """Recognise the layout of the CLIP at `path`. Raises CheckpointError when it is no CLIP."""
    if (path / "open_clip_config.json").is_file():
        return _open_clip(path)
    if (path / "config.json").is_file():
        return whole_clip(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path} has neither config.json nor open_clip_config.json; give a folder with one, or a weight file."
        )
    tensors = read_tensors(path, packages=("__torch__",))
    if "visual.conv1.weight" not in tensors:
        raise CheckpointError(f"{path} holds no CLIP: its keys are {some(tensors)}.")
    from_openai = all(name in tensors for name in ARCHIVE_NUMBERS)
    if activation is None and not from_openai:
        raise CheckpointError(
            f"{path} does not say its activation: give --activation quickgelu (OpenAI's) or gelu (most others); in "
            "Python, pinxit.load_clip(..., activation=...)."
        )
    config = _inferred(tensors, activation or "quickgelu", path)
    return RecognisedClip("OpenAI's CLIP", config, tensors, openai_names, ARCHIVE_NUMBERS)


def _ours(model: CLIP, recognised: RecognisedClip, path: Path, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The tensors under our names. Raises CheckpointError unless every key is used exactly once and fits."""
    tables = {ours: recognised.names(ours) for ours in model.state_dict()}
    expected = {name for names in tables.values() for name in names.parts}
    present = set(recognised.tensors) - set(recognised.ignored)
    counters = {name for name in expected if name.endswith("num_batches_tracked")}  # BatchNorm's; some files lack them
    for what, keys in (("lacks", expected - present - counters), ("has unknown", present - expected)):
        if keys:
            where = recognised.holds(min(keys), path)
            raise CheckpointError(f"{where} {what} {some(sorted(keys))}; it does not fit {recognised.layout}.")
    state = {}
    for ours, like in model.state_dict().items():
        names = tables[ours]
        if names.parts[0] not in present:
            state[ours] = torch.zeros(like.shape, dtype=like.dtype)
            continue
        tensor = names.gathered(recognised.tensors)
        if tensor.shape != like.shape:
            where = recognised.holds(names.parts[0], path)
            raise CheckpointError(
                f"{where} has {names.parts[0]} of shape {list(tensor.shape)}, not {list(like.shape)}."
            )
        wanted = dtype or tensor.dtype if like.is_floating_point() else like.dtype  # batch norms' counters are integers
        state[ours] = tensor.to(wanted).contiguous()
    return state


def _inferred(tensors: Mapping[str, Tensor], activation: Activation, path: Path) -> CLIPConfig:
    """The config that follows from the shapes of OpenAI's tensors, as in its own loader."""
    try:
        text_width = len(tensors["ln_final.weight"])
        text = CLIPTextConfig(
            vocab=len(tensors["token_embedding.weight"]),
            tokens=len(tensors["positional_embedding"]),
            width=text_width,
            layers=_count(tensors, "transformer.resblocks."),
            heads=max(1, text_width // OPENAI_HEAD),
            eot=len(tensors["token_embedding.weight"]) - 1,
        )
        vision = _vit(tensors) if "visual.proj" in tensors else _resnet(tensors)
        return CLIPConfig(tensors["text_projection"].shape[1], vision, text, activation)
    except KeyError as missing:
        raise CheckpointError(f"{path} lacks {missing.args[0]}; it is no CLIP of OpenAI's layout.") from None
    except (UsageError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path} has weights of shapes that no CLIP has ({str(error).rstrip('.')}).") from error


def _vit(tensors: Mapping[str, Tensor]) -> CLIPVisionConfig:
    width, _, patch, _ = tensors["visual.conv1.weight"].shape
    grid = math.isqrt(len(tensors["visual.positional_embedding"]) - 1)
    layers = _count(tensors, "visual.transformer.resblocks.")
    heads = max(1, width // OPENAI_HEAD)
    return CLIPVisionConfig(size=patch * grid, width=width, patch=patch, layers=layers, heads=heads)


def _resnet(tensors: Mapping[str, Tensor]) -> CLIPVisionConfig:
    stages = tuple(_count(tensors, f"visual.layer{stage}.") for stage in range(1, 5))
    grid = math.isqrt(len(tensors["visual.attnpool.positional_embedding"]) - 1)
    return CLIPVisionConfig(size=32 * grid, width=len(tensors["visual.conv3.weight"]), stages=stages)


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})


def _open_clip(folder: Path) -> RecognisedClip:
    """A model of open_clip's own towers, with OpenAI's keys; towers from other libraries are refused."""
    where = folder / "open_clip_config.json"
    described = read_json(where, OpenClipSettings, CheckpointError)
    model, shown = described["model_cfg"], described.get("preprocess_cfg", {})
    vision, text = model.get("vision_cfg", {}), model.get("text_cfg", {})
    if "timm_model_name" in vision or "hf_model_name" in text or model.get("custom_text"):
        raise CheckpointError(f"{folder} is an open_clip model with a tower of another library: pinxit has none.")
    tensors = read_tensors(first_of(folder, OPEN_CLIP_FILES))
    config = _inferred(tensors, "quickgelu" if model.get("quick_gelu") else "gelu", folder)
    check_settings(vision, OPEN_CLIP_VISION, f"{where}: model_cfg.vision_cfg")
    check_settings(text, OPEN_CLIP_TEXT, f"{where}: model_cfg.text_cfg")
    preprocessing = open_clip_preprocessing(shown, config.vision.size, f"{where}: preprocess_cfg")
    head = vision.get("head_width", OPENAI_HEAD)
    if config.vision.stages and head != OPENAI_HEAD:
        raise CheckpointError(f"{where}: head_width is {head}; pinxit's ResNets have heads of {OPENAI_HEAD} channels.")
    towers = (
        replace(config.vision, heads=max(1, config.vision.width // head)),
        replace(config.text, heads=text.get("heads", OPEN_CLIP_TEXT_HEADS), eot=_pooled_at(text, config.text.eot)),
    )
    config = config_of(where, config.embed, *towers, config.activation, preprocessing.colours)
    return RecognisedClip("open_clip's CLIP", config, tensors, openai_names, fitting=preprocessing.fitting)


def _pooled_at(text: Mapping[str, Any], largest: int) -> int:
    """The id at which open_clip pools a text: its `eos_id`, or by default the `largest`."""
    return int(text.get("eos_id", OPEN_CLIP_EOS)) if text.get("pool_type") == "eos" else largest

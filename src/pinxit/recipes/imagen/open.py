"""Opening an Imagen's checkpoint folder, to paint or to enlarge."""

from __future__ import annotations

from types import MappingProxyType

import torch

from pinxit.errors import CheckpointError
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.recipes.clip.ranker import AnyRanker
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.open import (
    DENOISES,
    captions_by,
    denoiser_of,
    placed_on,
    reader_of,
    sampling_of,
    upsampler_alone,
    upsampler_of,
    upsampler_stages,
)
from pinxit.recipes.diffusion.task import TEXT
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.published import Start
from pinxit.recipes.ranking import Ranker
from pinxit.recipes.stage_placement import USUAL, Placings, check_placings
from pinxit.text.clip_tokenizer import clip_tokens
from pinxit.text.encoders import TextEncoder
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import Checkpoint, open_checkpoint
from pinxit.weights.zoo import find


@torch_defaults_for_loading()
def open_painter(
    checkpoint: Checkpoint,
    *,
    name: str,
    device: str = "auto",
    placings: Placings = MappingProxyType({}),
    ranked: bool = True,
) -> ImagenPainter:
    """A painter with its upsamplers; `placings`: for the stages `denoise`, `embed` and the upsamplers'.

    `ranked`: with the CLIP that the checkpoint names, which need not be here if another one is to rank.

    Raises CheckpointError when weights, text encoder or ranker are missing or not those of the checkpoint, UsageError
    for a stage that cannot be placed so.
    """
    on, (first, *upsamplers) = pick_device(device), list(networks(checkpoint))
    known = {"denoise": DENOISES, "embed": ("device",), **upsampler_stages(checkpoint, upsamplers)}
    check_placings(placings, known, name)
    embeds = placed_on(placings.get("embed", USUAL), on)
    captions = captions_by(checkpoint, reader_of(checkpoint, on))
    denoiser, base = denoiser_of(checkpoint, first, on, placings.get("denoise", USUAL))
    return ImagenPainter(
        denoiser,
        base,
        sampling_of(checkpoint),
        captions,
        open_ranker(str(checkpoint.settings["ranker"]), embeds) if ranked else AnyRanker(None),
        upsampler_of(checkpoint, upsamplers, name, on, captions, placings),
        name=name,
        provenance={"checkpoint_hash": checkpoint.hash},
    )


@torch_defaults_for_loading()
def open_upsampler(
    checkpoint: Checkpoint, *, name: str, device: str = "auto", reader: TextEncoder | None = None
) -> Upsampler:
    """The upsampler alone, for pictures of any origin; the text encoder `reader` is reused if it is the right one."""
    return upsampler_alone(checkpoint, list(networks(checkpoint))[1:], name, pick_device(device), reader)


def networks(checkpoint: Start) -> dict[str, StageConfig]:
    """The networks of a checkpoint by name, from the base to the last upsampler."""
    return {name: checkpoint.config(name, StageConfig) for name in checkpoint.parts if name != TEXT}


def open_ranker(name: str, on: torch.device) -> Ranker:
    """The CLIP of another checkpoint, with its tokenizer.

    Raises CheckpointError when there is no such checkpoint, or when it has no CLIP.
    """
    try:
        checkpoint = open_checkpoint(find(name))
        clip = CLIP(checkpoint.config("clip", CLIPConfig))
        checkpoint.load_into("clip", clip)
    except CheckpointError as error:
        raise CheckpointError(f"ranker={name}: {error}") from error
    return Ranker(clip.to(on).eval().requires_grad_(False), clip_tokens(checkpoint.folder, clip.config.text.vocab), on)

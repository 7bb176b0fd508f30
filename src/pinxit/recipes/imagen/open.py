"""Opening an Imagen's checkpoint folder, to paint or to enlarge."""

from __future__ import annotations

import torch

from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.open import (
    captions_by,
    denoiser_of,
    reader_of,
    sampling_of,
    upsampler_alone,
    upsampler_of,
)
from pinxit.recipes.diffusion.task import TEXT
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.published import Start
from pinxit.recipes.ranking import Ranker
from pinxit.text.clip_tokenizer import clip_tokens
from pinxit.text.encoders import TextEncoder
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import Checkpoint, open_checkpoint
from pinxit.weights.zoo import find


def open_painter(checkpoint: Checkpoint, *, name: str, device: str = "auto") -> ImagenPainter:
    """Everything that paints and enlarges.

    Raises CheckpointError when weights, reader or ranker are not what they were.
    """
    on = pick_device(device)
    captions = captions_by(checkpoint, reader_of(checkpoint, on))
    first, *upsamplers = networks(checkpoint)
    denoiser, base = denoiser_of(checkpoint, first, on)
    return ImagenPainter(
        denoiser,
        base,
        sampling_of(checkpoint),
        captions,
        _ranker(str(checkpoint.settings["ranker"]), on),
        upsampler_of(checkpoint, upsamplers, name, on, captions),
        name=name,
        provenance={"checkpoint_hash": checkpoint.hash},
    )


def open_upsampler(
    checkpoint: Checkpoint, *, name: str, device: str = "auto", reader: TextEncoder | None = None
) -> Upsampler:
    """The upsampler alone, for pictures that others have painted; `reader` is used again where it is the same one."""
    return upsampler_alone(checkpoint, list(networks(checkpoint))[1:], name, pick_device(device), reader)


def networks(checkpoint: Start) -> dict[str, StageConfig]:
    """The cascade of a checkpoint by the names of its parts, in the order in which a picture passes it."""
    return {name: checkpoint.config(name, StageConfig) for name in checkpoint.parts if name != TEXT}


def _ranker(name: str, on: torch.device) -> Ranker:
    """CLIP of another checkpoint with its tokenizer."""
    checkpoint = open_checkpoint(find(name))
    clip = CLIP(checkpoint.config("clip", CLIPConfig))
    checkpoint.load_into("clip", clip)
    return Ranker(clip.to(on).eval().requires_grad_(False), clip_tokens(checkpoint.folder, clip.config.text.vocab), on)

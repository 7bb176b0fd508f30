"""Opening an Imagen's checkpoint folder, to paint or to enlarge."""

from __future__ import annotations

import torch

from pinxit.config import from_dict
from pinxit.errors import CheckpointError
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.models.text import TextTransformer
from pinxit.models.unet import UNet
from pinxit.models.unet_fast import fast_unet
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig, TextConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.task import TEXT
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.ranking import Ranker
from pinxit.text.encoders import TextEncoder, open_text_encoder
from pinxit.text.frozen import Precision, Running
from pinxit.text.learned import LearnedText
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import Checkpoint, open_checkpoint
from pinxit.weights.zoo import find


def open_painter(checkpoint: Checkpoint, *, name: str, device: str = "auto") -> ImagenPainter:
    """Everything that paints and enlarges.

    Raises CheckpointError when weights, reader or ranker are not what they were.
    """
    on = pick_device(device)
    captions, sampling = Captions(_reader(checkpoint, on)), _sampling(checkpoint)
    first, base = next(iter(networks(checkpoint).items()))
    return ImagenPainter(
        _denoiser(checkpoint, first, base, on),
        base,
        sampling,
        captions,
        _ranker(str(checkpoint.settings["ranker"]), on),
        _upsampler(checkpoint, name, on, sampling, captions),
        name=name,
        provenance={"checkpoint_hash": checkpoint.hash},
    )


def open_upsampler(
    checkpoint: Checkpoint, *, name: str, device: str = "auto", reader: TextEncoder | None = None
) -> Upsampler:
    """The upsampler alone, for pictures that others have painted; `reader` is used again where it is the same one."""
    on = pick_device(device)
    captions = Captions(_reader(checkpoint, on, reader))
    found = _upsampler(checkpoint, name, on, _sampling(checkpoint), captions)
    if found is None:
        raise CheckpointError(f"{checkpoint.folder} has no upsampler: name a checkpoint that has one.")
    return found


def networks(checkpoint: Checkpoint) -> dict[str, StageConfig]:
    """The cascade of a checkpoint by the names of its parts, in the order in which a picture passes it."""
    return {name: checkpoint.config(name, StageConfig) for name in checkpoint.parts if name != TEXT}


def _upsampler(
    checkpoint: Checkpoint, name: str, on: torch.device, sampling: SamplingConfig, captions: Captions
) -> Upsampler | None:
    """The last upsampler of the checkpoint, with those that come before it; None where it has none."""
    found, told = None, {"upsampler_hash": checkpoint.hash}
    for part, config in list(networks(checkpoint).items())[1:]:
        denoiser = _denoiser(checkpoint, part, config, on)
        found = Upsampler(denoiser, config, sampling, captions, name=name, before=found, provenance=told)
    return found


def _denoiser(checkpoint: Checkpoint, part: str, config: StageConfig, on: torch.device) -> UNetDenoiser:
    unet = UNet(config.unet)
    checkpoint.load_into(part, unet)
    return UNetDenoiser(fast_unet(unet.to(on), spend=True), config.diffusion, config.size, on, fast=False)


def _sampling(checkpoint: Checkpoint) -> SamplingConfig:
    return from_dict(SamplingConfig, dict(checkpoint.settings["sampling"]), f"{checkpoint.folder}: sampling")


def _reader(checkpoint: Checkpoint, on: torch.device, known: TextEncoder | None = None) -> TextEncoder:
    """On the painter's device; in bfloat16 on a GPU alone: on a CPU a sentence takes too little time to round it."""
    precision: Precision = "bf16" if on.type == "cuda" else "fp32"
    about = from_dict(TextConfig, dict(checkpoint.settings["text"]), f"{checkpoint.folder}: text")
    if about.learned is not None:
        model = TextTransformer(about.learned)
        checkpoint.load_into(TEXT, model)
        running = Running(about.length, on, precision)
        return LearnedText(model.eval(), Tokenizer.open(checkpoint.folder), running=running)
    reader = open_text_encoder(about.encoder, on, about.length, precision, spell=about.spell, known=known)
    if reader.fingerprint != checkpoint.settings["reader"]:
        raise CheckpointError(
            f"{checkpoint.folder} was trained with another text encoder than the '{about.encoder}' that is here; "
            "install the one it names, in the version it was trained with."
        )
    return reader


def _ranker(name: str, on: torch.device) -> Ranker:
    """CLIP of another checkpoint with its tokenizer."""
    checkpoint = open_checkpoint(find(name))
    clip = CLIP(checkpoint.config("clip", CLIPConfig))
    checkpoint.load_into("clip", clip)
    return Ranker(clip.to(on).eval().requires_grad_(False), Tokenizer.open(checkpoint.folder), on)

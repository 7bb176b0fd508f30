"""Opens the parts that checkpoints of all diffusion recipes have: networks, text encoder, upsamplers."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import torch

from pinxit.config import from_dict
from pinxit.errors import CheckpointError
from pinxit.models.text import TextTransformer
from pinxit.models.unet import UNet
from pinxit.models.unet_fast import fast_unet
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig, TextEncoderConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.reading import captions_of, painting_reader
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.task import TEXT
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.stage_placement import USUAL, Placing, Placings
from pinxit.text.encoders import TextEncoder
from pinxit.text.frozen import EncoderOptions, Precision
from pinxit.text.learned import LearnedText
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import Checkpoint

DENOISES: tuple[str, ...] = ("device", "fp32", "bf16", "compile")  # what a `Placing` can set for a stage that denoises
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def denoiser_of(
    checkpoint: Checkpoint, part: str, on: torch.device, placing: Placing = USUAL
) -> tuple[UNetDenoiser, StageConfig]:
    """A network of the checkpoint, packed for sampling, and its config; `placing` overrides device and precision."""
    on = placed_on(placing, on)
    config = checkpoint.config(part, StageConfig)
    unet = UNet(config.unet)
    checkpoint.load_into(part, unet)
    return packed_denoiser(unet, config.diffusion, config.size, on, placing.precision, placing.compile), config


def packed_denoiser(
    unet: UNet, about: DiffusionConfig, size: int, on: torch.device, precision: str, compiled: bool = False
) -> UNetDenoiser:
    """A denoiser over `unet`, whose weights are used up: packed for sampling pictures of `size` px on a device.

    `precision`: one of `DTYPES`; any other is the fastest there.
    """
    packed = fast_unet(unet.to(on), DTYPES.get(precision), spend=True)
    return UNetDenoiser(packed, about, size, on, autocast=False, compiled=compiled)


def usual_precision(on: torch.device) -> Precision:
    """That of large published networks and of text encoders where nobody says another: "bf16" on a GPU, else "fp32"."""
    return "bf16" if on.type == "cuda" else "fp32"


def placed_on(placing: Placing, on: torch.device) -> torch.device:
    """The device of a stage: its own, or else `on`."""
    return pick_device(placing.device) if placing.device else on


def upsampler_stages(checkpoint: Checkpoint, parts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each upsampler's stage, what a `Placing` can set."""
    return {f"up{checkpoint.config(part, StageConfig).size}": DENOISES for part in parts}


def sampling_of(checkpoint: Checkpoint) -> SamplingConfig:
    """The checkpoint's default sampling settings."""
    return from_dict(SamplingConfig, dict(checkpoint.settings["sampling"]), f"{checkpoint.folder}: sampling")


def upsampler_of(
    checkpoint: Checkpoint,
    parts: Sequence[str],
    name: str,
    on: torch.device,
    captions: Captions,
    placings: Placings = MappingProxyType({}),
) -> Upsampler | None:
    """The last of its upsamplers, which holds those before it; None if it has none."""
    upsampler, provenance, sampling = None, {"upsampler_hash": checkpoint.hash}, sampling_of(checkpoint)
    for part in parts:
        placing = placings.get(f"up{checkpoint.config(part, StageConfig).size}", USUAL)
        denoiser, config = denoiser_of(checkpoint, part, on, placing)
        upsampler = Upsampler(denoiser, config, sampling, captions, name=name, before=upsampler, provenance=provenance)
    return upsampler


def upsampler_alone(
    checkpoint: Checkpoint, parts: Sequence[str], name: str, on: torch.device, reader: TextEncoder | None
) -> Upsampler:
    """The upsampler alone, for pictures of any origin; the text encoder `reader` is reused if it is the right one.

    Raises CheckpointError when the checkpoint has no upsampler.
    """
    upsampler = upsampler_of(checkpoint, parts, name, on, captions_by(checkpoint, reader_of(checkpoint, on, reader)))
    if upsampler is None:
        raise CheckpointError(f"{checkpoint.folder} has no upsampler: name a checkpoint that has one.")
    return upsampler


def captions_by(checkpoint: Checkpoint, reader: TextEncoder) -> Captions:
    """What turns captions into conditions of its networks; `reader`: its text encoder."""
    return captions_of(_about(checkpoint), reader)


def _about(checkpoint: Checkpoint) -> TextEncoderConfig:
    return from_dict(TextEncoderConfig, dict(checkpoint.settings["text"]), f"{checkpoint.folder}: text")


def reader_of(checkpoint: Checkpoint, on: torch.device, known: TextEncoder | None = None) -> TextEncoder:
    """The checkpoint's text encoder on a device; `known` is reused if it is the same one.

    In bfloat16 on a GPU only: on a CPU encoding a sentence is so quick that rounding does not pay. Raises
    CheckpointError when the encoder that is installed is not the one that the checkpoint was trained with.
    """
    about, precision = _about(checkpoint), usual_precision(on)
    if about.learned is not None:
        model = TextTransformer(about.learned)
        checkpoint.load_into(TEXT, model)
        running = EncoderOptions(about.length, on, precision)
        return LearnedText(model.eval(), Tokenizer.open(checkpoint.folder), running=running)
    reader = painting_reader(about, on, precision, known)
    if reader.fingerprint != checkpoint.settings["reader"]:
        raise CheckpointError(
            f"{checkpoint.folder} was trained with another text encoder than the '{about.encoder}' that is here; "
            "install the one it names, in the version it was trained with."
        )
    return reader

"""Opening an unCLIP checkpoint, to paint or to upsample."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import torch

from pinxit.config import from_dict
from pinxit.errors import CheckpointError
from pinxit.models.prior import build_prior
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.pipelines.lanes import tile_of
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.clip.ranker import AnyRanker
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.open import (
    DENOISES,
    denoiser_of,
    reader_of,
    sampling_of,
    upsampler_alone,
    upsampler_of,
    upsampler_stages,
)
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.ranking import CPU_PICTURES
from pinxit.recipes.stage_placement import USUAL, Placings, check_placings
from pinxit.recipes.unclip.config import DECODER, SPACE, PriorParts, PriorSampling
from pinxit.recipes.unclip.embedder import Embedder
from pinxit.recipes.unclip.painter import UnclipPainter
from pinxit.recipes.unclip.prior_sampler import PriorSampler
from pinxit.recipes.unclip.space import Space, SpaceConfig
from pinxit.text.encoders import TextEncoder
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import Checkpoint


@torch_defaults_for_loading()
def open_painter(
    checkpoint: Checkpoint, *, name: str, device: str = "auto", placings: Placings = MappingProxyType({})
) -> UnclipPainter:
    """A painter with its upsamplers; `placings`: for the stage `decoder` and those of the upsamplers.

    Raises CheckpointError when weights, text encoder or CLIP are missing or not those of the checkpoint.
    """
    on = pick_device(device)
    known = {DECODER: DENOISES, **upsampler_stages(checkpoint, _upsamplers(checkpoint))}
    check_placings(placings, known, name)
    embedder = _embedder(checkpoint, on)
    denoiser, config = denoiser_of(checkpoint, DECODER, on, placings.get(DECODER, USUAL))
    captions = Captions(embedder.reader)
    return UnclipPainter(
        denoiser,
        config,
        sampling_of(checkpoint),
        captions,
        AnyRanker(embedder.clip),
        upsampler_of(checkpoint, _upsamplers(checkpoint), name, on, captions, placings),
        embedder=embedder,
        priors={one: _prior_sampler(checkpoint, one, embedder.space) for one in priors_of(checkpoint)},
        imagining=_default_sampling(checkpoint),
        name=name,
        provenance={"checkpoint_hash": checkpoint.hash},
    )


@torch_defaults_for_loading()
def open_upsampler(
    checkpoint: Checkpoint, *, name: str, device: str = "auto", reader: TextEncoder | None = None
) -> Upsampler:
    """The upsampler alone, for pictures of any origin; the text encoder `reader` is reused if it is the right one."""
    return upsampler_alone(checkpoint, _upsamplers(checkpoint), name, pick_device(device), reader)


def open_space(checkpoint: Checkpoint) -> Space:
    """The coordinates in which the checkpoint's networks take embeddings."""
    space = Space(checkpoint.config(SPACE, SpaceConfig))
    checkpoint.load_into(SPACE, space)
    return space


def priors_of(checkpoint: Checkpoint) -> list[str]:
    """The names of its priors: the parts before the decoder."""
    names = [name for name in checkpoint.parts if name != SPACE]
    return names[: names.index(DECODER)]


def _prior_sampler(checkpoint: Checkpoint, name: str, space: Space) -> PriorSampler:
    parts, on = checkpoint.config(name, PriorParts), space.mean.device
    network = build_prior(parts.network)
    checkpoint.load_into(name, network)
    return PriorSampler(network.to(on).eval().requires_grad_(False), space, parts.diffusion, on)


def _default_sampling(checkpoint: Checkpoint) -> PriorSampling:
    """How its priors are sampled by default; the first prior, if none is named."""
    about = from_dict(PriorSampling, dict(checkpoint.settings["imagining"]), f"{checkpoint.folder}: imagining")
    return replace(about, prior=about.prior or priors_of(checkpoint)[0])


def _embedder(checkpoint: Checkpoint, on: torch.device) -> Embedder:
    reader, clip = reader_of(checkpoint, on), ClipEncoder.open(str(checkpoint.settings["clip"]), str(on))
    if clip.fingerprint != checkpoint.settings["sight"]:
        problem = f"another CLIP than the '{checkpoint.settings['clip']}' that is here"
        raise CheckpointError(f"{checkpoint.folder} was trained with {problem}; give back the one it was trained with.")
    clip.batch = tile_of(on, CPU_PICTURES)  # few candidates are encoded at a time
    return Embedder(reader, clip, open_space(checkpoint).to(on), on)


def _upsamplers(checkpoint: Checkpoint) -> list[str]:
    """The names of its upsamplers, in the order of the cascade: the parts after the decoder."""
    names = list(checkpoint.parts)
    return names[names.index(DECODER) + 1 :]

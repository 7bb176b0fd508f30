"""Opening the priors of an unCLIP's checkpoint folder: from a sentence to an embedding of a picture of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pinxit.config import from_dict
from pinxit.errors import CheckpointError, UsageError
from pinxit.models.prior import build_prior
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.conditions import Conditions, texts
from pinxit.recipes.diffusion.config import TextEncoderConfig
from pinxit.recipes.unclip.config import DECODER, SPACE, PriorParts, PriorSampling
from pinxit.recipes.unclip.imagine import Imagination
from pinxit.recipes.unclip.space import Space, SpaceConfig
from pinxit.text.encoders import TextEncoder, open_text_encoder
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import Checkpoint


@dataclass(frozen=True)
class Imaginer:
    """Sentences to embeddings, by one of a checkpoint's priors."""

    imagination: Imagination
    reader: TextEncoder
    clip: ClipEncoder
    sampling: PriorSampling

    def told(self, caption: str) -> Conditions:
        """A caption as the prior is told it, cut as in training: `sequence` [L, D], `mask` [L], `pooled` [E]."""
        read = {name: rows[0] for name, rows in texts(self.reader, [caption]).items()}
        return read | {"pooled": torch.from_numpy(self.clip.texts([caption], cut=True))[0].to(read["mask"].device)}

    def embedding(self, caption: str, seed: int = 0, candidate: int = 0) -> Tensor:
        """What CLIP may say of a picture of the caption, [E] of length one."""
        return self.imagination(self.told(caption), self.sampling, seed, candidate)


def open_space(checkpoint: Checkpoint) -> Space:
    """The coordinates that the checkpoint's networks know embeddings in."""
    space = Space(checkpoint.config(SPACE, SpaceConfig))
    checkpoint.load_into(SPACE, space)
    return space


def open_imaginer(checkpoint: Checkpoint, *, prior: str = "", device: str = "auto") -> Imaginer:
    """The prior called `prior` ("": the checkpoint's own choice) with its reader and its CLIP.

    Raises UsageError for a prior that it has not, CheckpointError when weights, reader or CLIP are not what they were.
    """
    on, folder = pick_device(device), checkpoint.folder
    about = from_dict(PriorSampling, dict(checkpoint.settings["imagining"]), f"{folder}: imagining")
    names = [name for name in checkpoint.parts if name not in (SPACE, DECODER)]
    chosen = prior or about.prior or names[0]
    if chosen not in names:
        raise UsageError(f"{folder} has no prior '{chosen}'; choose from {', '.join(names)}.")
    parts = checkpoint.config(chosen, PriorParts)
    network = build_prior(parts.network)
    checkpoint.load_into(chosen, network)
    network = network.to(on).eval().requires_grad_(False)
    text = from_dict(TextEncoderConfig, dict(checkpoint.settings["text"]), f"{folder}: text")
    reader = open_text_encoder(text.encoder, on, text.length, "bf16" if on.type == "cuda" else "fp32", spell=text.spell)
    clip = ClipEncoder.open(str(checkpoint.settings["clip"]), str(on))
    for what, found, key in (("text encoder", reader.fingerprint, "reader"), ("CLIP", clip.fingerprint, "sight")):
        if found != checkpoint.settings[key]:
            raise CheckpointError(f"{folder} was trained with another {what} than the one that is here ({found}).")
    imagination = Imagination(network, open_space(checkpoint).to(on), parts.diffusion, on)
    return Imaginer(imagination, reader, clip, replace(about, prior=chosen))

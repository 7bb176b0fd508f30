"""Who may say something of shards beforehand: `pinxit data encode --with text|clip|dvae`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from pinxit.data.chunks import halves
from pinxit.data.sidecars import RowEncoder, batches
from pinxit.data.stream_texts import TextRowEncoder
from pinxit.data.vectors import ImageTextEncoder
from pinxit.data.writing_systems import Script
from pinxit.errors import UsageError
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.dalle.encode import BATCH, encode
from pinxit.recipes.diffusion.config import TextEncoderConfig
from pinxit.recipes.diffusion.reading import training_reader
from pinxit.recipes.karlo.embedder import Projected
from pinxit.recipes.karlo.open import embedder_of
from pinxit.text.encoders import located
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import fingerprint, open_checkpoint
from pinxit.weights.karlo import DECODER
from pinxit.weights.zoo import find

if TYPE_CHECKING:
    from pinxit.types import Picture

With = Literal["text", "clip", "dvae"]
AT_ONCE = 64  # pictures that CLIP is shown at a time: a multiple of its own batch, which so is always full


class Sight(ImageTextEncoder, Protocol):
    """A CLIP, or whoever says the like of one, and the side of the pictures that it is shown."""

    size: int


class ClipRowEncoder:
    """A CLIP's embeddings of pictures and captions."""

    kind = "clip"

    def __init__(self, encoder: Sight) -> None:
        self.encoder, self.size = encoder, encoder.size
        self.about = {"fingerprint": encoder.fingerprint, "width": encoder.width}

    def of(self, pictures: Iterable[Picture | None], captions: Sequence[tuple[str, ...]]) -> dict[str, Tensor]:
        """`pictures` float16 [N, E], zeros for those that cannot be used; `captions` [all, E] and `starts` [N + 1]."""
        seen = np.zeros((len(captions), self.encoder.width), np.float16)
        usable = ((row, picture) for row, picture in enumerate(pictures) if picture is not None)
        for batch in batches(usable, AT_ONCE):
            vectors = self.encoder.pictures([picture for _, picture in batch])
            seen[[row for row, _ in batch]] = halves(vectors, self.encoder.name)
        texts = [text for several in captions for text in several]
        starts = torch.tensor([0, *(len(several) for several in captions)]).cumsum(0)
        said = halves(self.encoder.texts(texts, cut=True), self.encoder.name)
        return {"pictures": torch.from_numpy(seen), "captions": torch.from_numpy(said), "starts": starts}


class DvaeRowEncoder:
    """A dVAE's codes of pictures."""

    kind = "dvae"

    def __init__(self, model: DVAE, device: torch.device) -> None:
        self.model, self.device, self.size = model.to(device).eval(), device, model.config.size
        self.about = {"fingerprint": fingerprint(model), "grid": model.grid}

    def of(self, pictures: Iterable[Picture | None], captions: Sequence[tuple[str, ...]]) -> dict[str, Tensor]:
        """`codes` int32 [N, h, w], and `sound` bool [N]: which pictures could be used."""
        blank = np.zeros((self.size, self.size, 3), np.uint8)
        codes = torch.zeros(len(captions), self.model.grid, self.model.grid, dtype=torch.int32)
        sound = list[bool]()
        for batch in batches(pictures, BATCH):
            shown = np.stack([blank if one is None else one for one in batch])
            first, end = len(sound), len(sound) + len(batch)
            codes[first:end] = torch.from_numpy(encode(self.model, shown, self.device).astype(np.int32))
            sound += [one is not None for one in batch]
        return {"codes": codes, "sound": torch.tensor(sound, dtype=torch.bool)}


def row_encoder(
    by: With,
    model: str,
    device: str = "auto",
    length: int | None = None,
    padded: bool = False,
    script: Script = "latin",
) -> RowEncoder:
    """The model that a name or a folder holds. Raises UsageError or CheckpointError where it is none of that kind.

    `length`, `padded` and `script` are of a text encoder: tokens, whether it reads as DeepFloyd IF's does, and which
    captions, as `data.script` of the run. A Karlo's folder has both towers of a CLIP.
    """
    if by != "text" and (length is not None or padded):
        raise UsageError("--length and --padded are of text encoders: --with text.")
    on = pick_device(device)
    if by != "dvae" and (Path(model) / DECODER / "config.json").is_file():
        return _karlo(by, Path(model), on, length, padded, script)
    if by == "text":
        about = TextEncoderConfig(located(model), manner="deepfloyd" if padded else "own")
        about = about if length is None else TextEncoderConfig(about.encoder, length=length, manner=about.manner)
        return TextRowEncoder(training_reader(about, on), script)
    if by == "clip":
        return ClipRowEncoder(ClipEncoder.open(model, device))
    checkpoint = open_checkpoint(find(model), "dalle")
    dvae = DVAE(checkpoint.config("dvae", DVAEConfig))
    checkpoint.load_into("dvae", dvae)
    return DvaeRowEncoder(dvae.requires_grad_(False), on)


def _karlo(
    by: With, folder: Path, device: torch.device, length: int | None, padded: bool, script: Script
) -> RowEncoder:
    """Either tower of a Karlo's CLIP, as its networks are told what they say."""
    if length is not None or padded:
        raise UsageError(f"{folder} reads captions in its own way: leave --length and --padded out.")
    embedder = embedder_of(folder, device, "fp32")
    return TextRowEncoder(embedder.reader, script) if by == "text" else ClipRowEncoder(Projected(embedder))

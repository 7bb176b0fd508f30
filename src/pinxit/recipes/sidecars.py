"""The frozen models that can encode shards ahead of training: `pinxit data encode --with text|clip|dvae`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from pinxit.data.chunks import to_float16
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
from pinxit.recipes.karlo.embedder import UnnormalisedClip
from pinxit.recipes.karlo.open import embedder_of
from pinxit.text.encoders import located
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import fingerprint, open_checkpoint
from pinxit.weights.karlo import DECODER
from pinxit.weights.zoo import find

if TYPE_CHECKING:
    from pinxit.types import Picture

EncoderKind = Literal["text", "clip", "dvae"]
AT_ONCE = 64  # pictures that CLIP is shown at a time, or as many more as fill its own batches


class ClipEmbedder(ImageTextEncoder, Protocol):
    """A CLIP, or another encoder with its interface."""

    size: int  # side of the pictures that it takes
    batch: int  # pictures that it takes in one call, which costs the same with fewer


class ClipRowEncoder:
    """A CLIP's embeddings of pictures and captions."""

    kind = "clip"

    def __init__(self, encoder: ClipEmbedder) -> None:
        self.encoder, self.size = encoder, encoder.size
        self.about = {"fingerprint": encoder.fingerprint, "width": encoder.width}
        self.at_once = -(-AT_ONCE // encoder.batch) * encoder.batch

    def of(self, pictures: Iterable[Picture | None], captions: Sequence[tuple[str, ...]]) -> dict[str, Tensor]:
        """`pictures` float16 [N, E], zeros for those that cannot be used; `captions` float16 [all captions, E], of
        which row i of the shard has those from `starts[i]` to `starts[i + 1]` (int64 [N + 1])."""
        image = np.zeros((len(captions), self.encoder.width), np.float16)
        usable = ((row, picture) for row, picture in enumerate(pictures) if picture is not None)
        for batch in batches(usable, self.at_once):
            vectors = self.encoder.pictures([picture for _, picture in batch])
            image[[row for row, _ in batch]] = to_float16(vectors, self.encoder.name)
        texts = [text for several in captions for text in several]
        starts = torch.tensor([0, *(len(several) for several in captions)]).cumsum(0)
        text = to_float16(self.encoder.texts(texts, cut=True), self.encoder.name)
        return {"pictures": torch.from_numpy(image), "captions": torch.from_numpy(text), "starts": starts}


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
    by: EncoderKind,
    model: str,
    device: str = "auto",
    length: int | None = None,
    padded: bool = False,
    spell: bool = False,
    script: Script = "latin",
) -> RowEncoder:
    """The encoder of kind `by` in `model`, a shipped name or a folder; a Karlo's folder has both towers of a CLIP.

    Only text encoders take `length` (tokens), `padded` (clean captions and keep the output at pads, as DeepFloyd IF
    does), `spell` (`text.spell` of the run) and `script` (which captions to encode, `data.script` of the run). Raises
    UsageError for options of another kind of model, UsageError or CheckpointError where `model` is not of this kind.
    """
    if by != "text" and (length is not None or padded or spell or script != "latin"):
        raise UsageError("--length, --padded, --spell and --script are of text encoders: --with text.")
    on = pick_device(device)
    if by != "dvae" and (Path(model) / DECODER / "config.json").is_file():
        if length is not None or padded or spell:
            raise UsageError(f"{model} reads captions in its own way: leave --length, --padded and --spell out.")
        return _karlo(by, Path(model), on, script)
    if by == "text":
        about = TextEncoderConfig(located(model), manner="deepfloyd" if padded else "own", spell=spell)
        about = about if length is None else replace(about, length=length)
        return TextRowEncoder(training_reader(about, on), script)
    if by == "clip":
        return ClipRowEncoder(ClipEncoder.open(model, device))
    checkpoint = open_checkpoint(find(model), "dalle")
    dvae = DVAE(checkpoint.config("dvae", DVAEConfig))
    checkpoint.load_into("dvae", dvae)
    return DvaeRowEncoder(dvae.requires_grad_(False), on)


def _karlo(by: EncoderKind, folder: Path, device: torch.device, script: Script) -> RowEncoder:
    """Either tower of a Karlo's CLIP, with outputs as Karlo's networks take them."""
    embedder = embedder_of(folder, device, "fp32")
    return TextRowEncoder(embedder.reader, script) if by == "text" else ClipRowEncoder(UnnormalisedClip(embedder))

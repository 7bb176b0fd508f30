"""Text encoders behind one interface: `open_text_encoder("minilm").encode(["a cat"])` returns an `EncodedText`.

Shapes: B texts, L positions, D width, E pooled width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pinxit.errors import CheckpointError, UsageError
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.text import minilm
from pinxit.text.clip_text import MODEL_TYPES as CLIPS
from pinxit.text.clip_text import ClipText
from pinxit.text.frozen import EncoderOptions, FrozenEncoder, Precision
from pinxit.text.language_models import FAMILIES, LanguageModel
from pinxit.text.model_folder import ModelFolder
from pinxit.weights.hub import PREFIX, fetch
from pinxit.weights.manifest import MANIFEST

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pinxit.types import EncodedText

MINILM = "minilm"


class TextEncoder(Protocol):
    """Text to vectors, which depend on the text alone, never on the other texts of a batch."""

    name: str
    width: int  # D
    pooled_width: int  # E
    length: int  # L, in tokens: longer texts are cut
    precision: Precision
    padded: bool  # whether the model's output at pads is kept

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any weight: stored embeddings record which encoder made them."""

    def encode(self, texts: Sequence[str], batch: int = 1) -> EncodedText:
        """float32 sequence [B, L, D], pooled [B, E], mask bool [B, L]; `batch` texts run at once."""

    def ragged(self, texts: Sequence[str], batch: int = 1) -> tuple[list[Tensor], Tensor]:
        """The same without the padding: float32 [n, D] for each text of n tokens, and pooled [B, E]."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text after cutting, specials counted."""

    def null(self) -> EncodedText:
        """The empty text encoded, B = 1: the unconditional input of guidance."""

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of `text` are cut off."""

    def unknown_words(self, text: str) -> list[str]:
        """Words of `text` that it does not know, each once, in order."""


@torch_defaults_for_loading()
def open_text_encoder(
    spec: str | Path,
    device: str | torch.device = "cpu",
    length: int | None = None,
    precision: Precision = "fp32",
    penultimate: bool = False,
    padded: bool = False,
    spell: bool = False,
    known: TextEncoder | None = None,
) -> FrozenEncoder:
    """Open "minilm" (the packaged all-MiniLM-L6-v2), a local folder, or "hub:OWNER/NAME".

    The folder's config.json tells the family: T5, DeBERTa v2 and v3, BERT-like sentence encoders, CLIP; a checkpoint
    folder of pinxit that holds a CLIP works too. `length` None is 128 tokens, or the model's limit if that is less;
    `penultimate` takes the states before CLIP's last layer; `padded` keeps the model's output at pads, as DeepFloyd IF
    does; `spell` tokenises words that are to be written in a picture letter by letter; `known` is an open encoder,
    which is returned if it is the same language model with the same options.
    Raises UsageError for impossible options, or when a package is not installed (the message says which),
    CheckpointError when there is no encoder of a known family.
    """
    place, name = place_of(spec)
    running = EncoderOptions(length, device, precision, padded, spell)
    if (place / MANIFEST).is_file():
        return ClipText.own(place, name, running, penultimate)
    folder = ModelFolder.open(place)
    if folder.model_type in CLIPS:
        return ClipText.published(folder, name, running, penultimate)
    if folder.model_type not in FAMILIES:
        families = ", ".join((*FAMILIES, *CLIPS))
        raise CheckpointError(f"{place} holds a {folder.model_type} model, which is no text encoder among {families}.")
    if penultimate:
        raise UsageError(f"{place} holds a {folder.model_type} model: only CLIP is read at its penultimate layer.")
    if isinstance(known, LanguageModel) and known.runs(running) and known.holds(folder):
        return known
    return LanguageModel(folder, name, running)


def located(spec: str) -> str:
    """A folder's absolute path, which names it wherever a command is run; other encoders as they are."""
    return str(Path(spec).resolve()) if spec not in ("", MINILM) and Path(spec).is_dir() else spec


def place_of(spec: str | Path) -> tuple[Path, str]:
    """The folder and the short name of a text encoder. Raises CheckpointError for an empty name."""
    if spec == "":  # an empty variable of a shell, not the current folder
        raise CheckpointError(f"there is no text encoder '': give {MINILM}, a folder, or {PREFIX}OWNER/NAME.")
    if str(spec) == MINILM:
        return minilm.folder(), MINILM
    if str(spec).startswith(PREFIX):
        return fetch(str(spec), archives=False), str(spec)
    return Path(spec), Path(spec).resolve().name

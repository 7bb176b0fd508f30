"""A language model's folder in transformers' or diffusers' layout, checked before anything heavy is imported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinxit.errors import CheckpointError
from pinxit.weights.json_files import json_object, shards

INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model")
SETTINGS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json")  # of a tokenizer, besides its vocabulary


@dataclass(frozen=True)
class ModelFolder:
    """The files of a text encoder."""

    weights: Path  # folder of config.json and the safetensors files
    tokenizer: Path  # folder of the tokenizer's files: the same, or diffusers' `tokenizer` beside it
    config: dict[str, Any]
    files: tuple[Path, ...]  # everything that the encoder's output depends on

    @property
    def model_type(self) -> str:
        """The family, as config.json names it."""
        return str(self.config.get("model_type"))

    @property
    def sentencepiece(self) -> bool:
        """Whether the only tokenizer is a SentencePiece model, which only that library reads."""
        return not _present(self.tokenizer, [name for name in TOKENIZERS if not name.endswith(".model")])

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """Name and bytes of every file."""
        return [(path.name, path.stat().st_size) for path in self.files]

    @classmethod
    def open(cls, folder: Path) -> ModelFolder:
        """Find the files in `folder`: a model's, or a whole diffusers pipeline with `text_encoder` and `tokenizer`.

        Raises CheckpointError when config.json, safetensors weights or tokenizer files are missing.
        """
        if not folder.is_dir():
            raise CheckpointError(f"there is no folder {folder} of a text encoder.")
        inner = folder / "text_encoder"
        weights = inner if not (folder / "config.json").is_file() and (inner / "config.json").is_file() else folder
        if not (weights / "config.json").is_file():
            raise CheckpointError(f"{folder} holds no text encoder: it has no config.json.")
        places = (weights, weights.parent / "tokenizer")
        tokenizer = next((place for place in places if _present(place, TOKENIZERS)), None)
        if tokenizer is None:
            raise CheckpointError(f"{weights} has no tokenizer: it needs one of {', '.join(TOKENIZERS)}.")
        tensors, config = _tensors(weights), weights / "config.json"
        return cls(
            weights, tokenizer, json_object(config), (config, *tensors, *_present(tokenizer, TOKENIZERS + SETTINGS))
        )

    def fingerprint(self, *more: str) -> str:
        """Sixteen hex digits that change with any file that matters, and with `more`."""
        digest = hashlib.sha256("\0".join(more).encode())
        for path in self.files:
            with path.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
        return digest.hexdigest()[:16]


def _present(folder: Path, names: Sequence[str]) -> list[Path]:
    return [folder / name for name in names if (folder / name).is_file()]


def _tensors(folder: Path) -> Sequence[Path]:
    """The safetensors files of `folder`: a single one, or the shards that an index names."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if (folder / INDEX).is_file():
        return shards(folder / INDEX)
    pickled = next((path.name for path in sorted(folder.iterdir()) if path.suffix in (".bin", ".pt", ".ckpt")), None)
    reason = f" (it has {pickled}, and pickled weights are never read)" if pickled else ""
    raise CheckpointError(f"{folder} has no model.safetensors{reason}; save the model with safetensors.")

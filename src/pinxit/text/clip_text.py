"""CLIP's text tower as a text encoder: transformers' and diffusers' folders, and checkpoints of pinxit.

Imagen (arXiv 2205.11487, section 2.1) compares T5 with it; the states of its penultimate layer are available too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pinxit.errors import CheckpointError
from pinxit.models.clip import CLIP, CLIPConfig, TextTower
from pinxit.text.clip_tokenizer import ClipTokenizer, clip_tokens
from pinxit.text.frozen import EncoderOptions, FrozenEncoder
from pinxit.text.model_folder import ModelFolder
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.clip_folders import HF_BUFFERS, activation_of, text_config, tower_settings
from pinxit.weights.clip_names import alone, hf_names
from pinxit.weights.tensor_files import not_finite, read_tensors, some

WHOLE = "clip"
MODEL_TYPES = (WHOLE, "clip_text_model")
PART = "clip"  # of a checkpoint of pinxit
Tokenize = Callable[[Sequence[str], int], Sequence[Sequence[int]]]  # texts and length to `start ids end 0 0 ...`


class ClipText(FrozenEncoder):
    """States of the tokens up to EOT, of the last layer (normalised) or the penultimate one; pooled at EOT, projected.

    A published CLIP whose tower has no projection is pooled without one.
    """

    def __init__(
        self,
        tower: TextTower,
        tokenize: Tokenize,
        count: Callable[[str], int],  # number of a text's ids, without start and end
        name: str,
        identity: Callable[[], str],  # hex digits that change with any weight
        running: EncoderOptions,
        penultimate: bool = False,
        unknown: Callable[[str], list[str]] = lambda text: [],  # words that training never held, if that is known
    ) -> None:
        super().__init__(
            name,
            width=tower.positions.shape[1],
            pooled_width=tower.proj.shape[1],
            positions=len(tower.positions),
            pad=0,
            identify=lambda: hashlib.sha256(f"{identity()} {penultimate}".encode()).hexdigest()[:16],
            running=running,
        )
        self.tower, self.penultimate = tower.to(self.device).eval().requires_grad_(False), penultimate
        self._tokenize, self._count, self._unknown = tokenize, count, unknown

    @classmethod
    def published(cls, folder: ModelFolder, name: str, running: EncoderOptions, penultimate: bool = False) -> ClipText:
        """From transformers' layout: a whole CLIP, or its text tower alone.

        Raises CheckpointError when weights are missing or of another shape, or the config has unsupported values.
        """
        tower = _published(folder)
        tokenizer = ClipTokenizer.open(folder.tokenizer, tower.tokens.num_embeddings)

        def tokenize(texts: Sequence[str], length: int) -> Sequence[Sequence[int]]:
            rows: list[list[int]] = tokenizer.encode(texts, length, cut=True).tolist()
            return rows

        return cls(tower, tokenize, tokenizer.count, name, folder.fingerprint, running, penultimate)

    @classmethod
    def own(cls, place: Path, name: str, running: EncoderOptions, penultimate: bool = False) -> ClipText:
        """From a checkpoint folder of pinxit that has a CLIP. Raises CheckpointError when it has none."""
        checkpoint = open_checkpoint(place)
        if PART not in checkpoint.parts:
            raise CheckpointError(f"{place} holds a checkpoint of {checkpoint.recipe} without a CLIP.")
        model = CLIP(checkpoint.config(PART, CLIPConfig))
        checkpoint.load_into(PART, model)
        tokenizer = clip_tokens(place, model.config.text.vocab)

        def tokenize(texts: Sequence[str], length: int) -> Sequence[Sequence[int]]:
            rows: list[list[int]] = tokenizer.encode_clip(texts, length).tolist()
            return rows

        facts = tokenizer.count, name, lambda: checkpoint.hash, running, penultimate, tokenizer.unknown_words
        return cls(model.text, tokenize, *facts)

    def ids(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        longest = limit or 2 + max((self._count(text) for text in texts), default=0)
        rows = [list(row) for row in self._tokenize(texts, longest)]
        return [row[: row.index(self.tower.eot) + 1] for row in rows]

    def unknown_words(self, text: str) -> list[str]:
        """Words that no training caption of a pinxit CLIP held; none for published CLIPs, with unknown captions."""
        return self._unknown(text)

    def run(self, ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        # No padding mask: attention is causal, so what follows EOT does not reach the states that are kept.
        x_BLD = self.tower.tokens(ids_BL) + self.tower.positions[: ids_BL.shape[1]]
        *blocks, last = self.tower.blocks
        for block in blocks:
            x_BLD = block(x_BLD)
        states = self.tower.ln_final(last(x_BLD))
        end_B = mask_BL.sum(1) - 1
        pooled = states[torch.arange(len(end_B), device=end_B.device), end_B] @ self.tower.proj
        return (x_BLD if self.penultimate else states), pooled


def _published(folder: ModelFolder) -> TextTower:
    where = folder.weights / "config.json"
    whole = folder.model_type == WHOLE
    settings = tower_settings(folder.config if whole else {"text_config": folder.config}, "text", where)
    activation = activation_of(settings, where)
    tensors = _tensors(folder)
    projection = tensors.get("text_projection.weight")
    config = text_config(settings)
    embed = config.width if projection is None else len(projection)
    with torch.device("meta"):
        tower = TextTower(config, embed, activation)
    if projection is None:
        tensors["text_projection.weight"] = torch.eye(config.width)
    tower.load_state_dict(_ours(tower, tensors, folder), assign=True)
    return tower


def _tensors(folder: ModelFolder) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in folder.files:
        tensors |= read_tensors(path) if path.suffix == ".safetensors" else {}
    return alone(tensors, "text")


def _ours(tower: TextTower, tensors: dict[str, Tensor], folder: ModelFolder) -> dict[str, Tensor]:
    state = {}
    left = {name for name in tensors if name.startswith("text_")} - set(HF_BUFFERS)
    for ours, like in tower.state_dict().items():
        names = hf_names(f"text.{ours}")
        missing = [name for name in names.parts if name not in tensors]
        if missing:
            raise CheckpointError(f"{folder.weights} lacks the weights {some(missing)}.")
        whole = names.gathered(tensors)
        if whole.shape != like.shape:
            shapes = f"of shape {list(whole.shape)}, not {list(like.shape)}"
            raise CheckpointError(f"{folder.weights} has {names.parts[0]} {shapes}.")
        state[ours] = whole.float().contiguous()
        left.difference_update(names.parts)
    if left:
        raise CheckpointError(f"{folder.weights} has unknown {some(sorted(left))}; it does not fit its config.json.")
    wrong = not_finite(state)
    if wrong is not None:
        names = hf_names(f"text.{wrong}")
        raise CheckpointError(f"{folder.weights} has weights that are not finite ({some(names.parts)}): it is damaged.")
    return state

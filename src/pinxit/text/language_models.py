"""Frozen language models from transformers: T5 1.1, DeBERTa v2 and v3, and BERT-like sentence encoders.

Imagen (arXiv 2205.11487, section 2.1) reads its prompts with such a model. Only safetensors files of a local folder are
read; no code that comes with a model is executed. transformers is imported when a model is opened.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pinxit.errors import CheckpointError, UsageError, install
from pinxit.text.frozen import EncoderOptions, FrozenEncoder
from pinxit.text.model_folder import ModelFolder
from pinxit.text.pooling import Pooling
from pinxit.text.words import stretches, words
from pinxit.texts import check_text
from pinxit.weights.tensor_files import some


@dataclass(frozen=True)
class Family:
    """What one model_type needs."""

    model: str  # class of transformers
    reserved: int = 0  # rows of its position embeddings that no token can have
    relative: bool = False  # positions are only relative: it reads any number of tokens
    half: bool = False  # in bf16 the weights are stored in bfloat16, too, as there are billions; others keep 32 bits


FAMILIES = {
    "t5": Family("T5EncoderModel", relative=True, half=True),
    "deberta-v2": Family("DebertaV2Model", relative=True),  # version 3 has this model_type too
    "bert": Family("BertModel"),
    "distilbert": Family("DistilBertModel"),
    "mpnet": Family("MPNetModel", reserved=2),
    "roberta": Family("RobertaModel", reserved=2),
    "xlm-roberta": Family("XLMRobertaModel", reserved=2),
}


class LanguageModel(FrozenEncoder):
    """The last layer's states of a frozen language model, pooled as its folder says, or else by their mean."""

    def __init__(self, folder: ModelFolder, name: str, running: EncoderOptions) -> None:
        """Raises UsageError if transformers is not installed, CheckpointError for files that do not fit each other."""
        family, pooling = FAMILIES[folder.model_type], Pooling.of_folder(folder.weights)
        half = family.half and running.precision == "bf16"
        model, tokenizer = _load(folder, family, torch.bfloat16 if half else torch.float32)
        limited = not family.relative or getattr(model.config, "position_biased_input", False)
        positions = model.config.max_position_embeddings - family.reserved if limited else None
        super().__init__(
            name,
            width=model.config.hidden_size,
            pooled_width=model.config.hidden_size,
            positions=positions,
            pad=tokenizer.pad_token_id or 0,
            identify=lambda: folder.fingerprint(str(pooling)),
            running=running,
        )
        self.autocast = self.autocast and not half
        self.model, self.tokenizer, self.pooling = model.to(self.device), tokenizer, pooling
        self.folder = folder

    def holds(self, folder: ModelFolder) -> bool:
        """Whether `folder`, here or elsewhere, contains the same model that is open here."""
        if [path.resolve() for path in folder.files] == [path.resolve() for path in self.folder.files]:
            return True
        if folder.sizes != self.folder.sizes:  # mostly avoids reading gigabytes
            return False
        return folder.fingerprint(str(Pooling.of_folder(folder.weights))) == self.model_fingerprint

    def ids(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        if not texts:
            return []
        options = {"truncation": True, "max_length": limit} if limit else {"truncation": False}
        encoded = self.tokenizer([check_text(text) for text in texts], padding=False, verbose=False, **options)
        rows: list[list[int]] = encoded["input_ids"]
        return rows

    def unknown_words(self, text: str) -> list[str]:
        """Words of which a part becomes the tokenizer's unknown token.

        Byte-level tokenizers have no such token: they report nothing.
        """
        unknown, every = self.tokenizer.unk_token_id, list(dict.fromkeys(words(text)))
        if unknown is None or not every:
            return []
        rows = self.tokenizer(every, add_special_tokens=False)["input_ids"]
        return stretches(text, {word for word, row in zip(every, rows, strict=True) if unknown in row})

    def run(self, ids_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        states = self.model(input_ids=ids_BL, attention_mask=mask_BL.long()).last_hidden_state
        return states, self.pooling(states, mask_BL)


def _load(folder: ModelFolder, family: Family, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer. Missing weights are an error: transformers would initialise them at random."""
    try:
        import transformers
    except ImportError as error:
        what = f"{folder.weights} is a {folder.model_type} model"
        raise UsageError(f"{what}, which needs transformers: {install('imagen')}.") from error
    if folder.sentencepiece and not all(map(_installed, ("sentencepiece", "google.protobuf"))):
        what = f"{folder.tokenizer} has a SentencePiece tokenizer"
        raise UsageError(f"{what}, which needs two more packages: pip install sentencepiece protobuf.")
    offline = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            model, report = getattr(transformers, family.model).from_pretrained(
                folder.weights, use_safetensors=True, dtype=dtype, output_loading_info=True, **offline
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder.tokenizer, **offline)
    except Exception as error:  # the libraries below raise all kinds of errors
        what = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{folder.weights} cannot be opened: {type(error).__name__}: {what}.") from error
    missing = [key for key in sorted(report["missing_keys"]) if not key.startswith("pooler.")]  # its output is not used
    if missing:
        raise CheckpointError(f"{folder.weights} lacks the weights {some(missing)}.")
    if len(tokenizer) > model.config.vocab_size:
        what = f"a tokenizer of {len(tokenizer)} tokens, but a model of {model.config.vocab_size}"
        raise CheckpointError(f"{folder.weights} has {what}.")
    return model.eval().requires_grad_(False), tokenizer


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the library's progress bars and warnings: what matters is checked here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

"""A CLIP of any origin as an encoder: pictures and sentences to unit vectors.

Batches have one fixed shape, so that a vector never depends on the rest of its batch. Shapes: N rows, E embedding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pinxit.data.decode import decode, read_file
from pinxit.data.transforms import preprocess, to_tensor
from pinxit.errors import CheckpointError, UsageError
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.models.dtypes import fast_products
from pinxit.models.torch_defaults import torch_defaults, torch_defaults_for_loading
from pinxit.pipelines.rank import encode_fixed
from pinxit.recipes.clip.engine import Engine, Precision, compiled, pick_engine
from pinxit.recipes.published import fitting_of
from pinxit.text.clip_tokenizer import ClipTokenizer, check_length, clip_tokens
from pinxit.texts import check_list
from pinxit.training.precision import pick_device
from pinxit.types import check_pixels
from pinxit.weights.checkpoint import fingerprint, open_checkpoint
from pinxit.weights.hub import PREFIX, fetch
from pinxit.weights.manifest import MANIFEST
from pinxit.weights.public_clip import check_activation, load_public_clip
from pinxit.weights.zoo import find, shipped

if TYPE_CHECKING:
    from pinxit.models.layers import Activation
    from pinxit.text.tokenizers import Tokenizer
    from pinxit.types import Picture

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Ids = np.ndarray[tuple[int, int], np.dtype[np.int64]]
Tokenize = Callable[[Sequence[str], bool], Ids]
BATCH, BATCH_GPU = 32, 256
PART = "clip"


@dataclass(frozen=True)
class ClipTokens:
    """Texts to the ids of a CLIP with `length` positions: a `Tokenize`."""

    tokenizer: Tokenizer | ClipTokenizer
    length: int

    def __call__(self, texts: Sequence[str], cut: bool) -> Ids:
        """int64 [N, L]. Raises UsageError for a text that is too long, unless it may be `cut`."""
        if isinstance(self.tokenizer, ClipTokenizer):
            return self.tokenizer.encode(texts, self.length, cut)
        for text in texts if not cut else ():
            check_length(text, self.tokenizer.count(text), self.length)
        return self.tokenizer.encode_clip(texts, self.length)


class ClipEncoder:
    """Open one with `ClipEncoder.open`; `pictures` and `texts` give rows of length one."""

    def __init__(
        self,
        model: CLIP,
        tokenize: Tokenize,
        name: str,
        device: str = "auto",
        batch: int | None = None,
        engine: Engine = "torch",
        precision: Precision = "fp32",
    ) -> None:
        """`batch`: rows encoded together, None for what suits the device.

        `engine` and `precision` trade speed for exactness: see `recipes.clip.engine`.
        """
        self.device = pick_device(device)
        self.engine, self.precision = pick_engine(engine, self.device), precision
        self._compiled: dict[tuple[str, int], Any] = {}  # by tower and process: see `recipes.clip.engine.core`
        self._alone = Lock()  # OpenVINO's requests, and the tracer, serve one thread at a time
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.tokenize, self.name = tokenize, name
        self.batch = batch or (BATCH if self.device.type == "cpu" else BATCH_GPU)
        self.size, self.width = model.config.vision.size, model.config.embed

    @classmethod
    @torch_defaults_for_loading()
    def open(
        cls,
        name_or_path: str | Path,
        device: str = "auto",
        activation: Activation | None = None,
        engine: Engine = "torch",
        precision: Precision = "fp32",
    ) -> ClipEncoder:
        """A shipped name, a checkpoint folder of pinxit, published weights (`load_public_clip`), or "hub:OWNER/NAME".

        Raises CheckpointError when there is none, or when it holds no CLIP; UsageError for an engine that cannot be
        used, and for another `activation` than the weights state.
        """
        model, tokenize = cls._read(name_or_path, activation)
        check_activation(activation, model.config.activation, name_or_path)
        return cls(model, tokenize, _located(name_or_path), device, engine=engine, precision=precision)

    @classmethod
    def _read(cls, name_or_path: str | Path, activation: Activation | None) -> tuple[CLIP, Tokenize]:
        path = place_of(name_or_path)
        if str(name_or_path) in shipped() or (path / MANIFEST).is_file():
            return cls._ours(name_or_path)
        if name_or_path == "" or not path.exists():
            with_clip = [name for name in shipped() if PART in open_checkpoint(find(name)).parts]
            known = ", ".join(with_clip) or "none in this installation"
            raise CheckpointError(
                f"there is no CLIP '{name_or_path}': give a file, a folder, hub:OWNER/NAME or a shipped name ({known})."
            )
        model = load_public_clip(path, activation)
        folder = path if path.is_dir() else path.parent
        tokenizer = ClipTokenizer.open(folder, model.config.text.vocab)
        return model, ClipTokens(tokenizer, model.config.text.tokens)

    @classmethod
    def _ours(cls, name_or_folder: str | Path) -> tuple[CLIP, Tokenize]:
        checkpoint = open_checkpoint(find(name_or_folder))
        if PART not in checkpoint.parts:
            raise CheckpointError(f"{checkpoint.folder} holds a checkpoint of {checkpoint.recipe} without a CLIP.")
        model = CLIP(checkpoint.config(PART, CLIPConfig))
        checkpoint.load_into(PART, model)
        model.fitting = fitting_of(checkpoint)
        tokenizer = clip_tokens(checkpoint.folder, model.config.text.vocab)
        return model, ClipTokens(tokenizer, model.config.text.tokens)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_compiled", "_alone")}

    def __setstate__(self, state: dict[str, Any]) -> None:  # another process compiles for itself, and has its own lock
        self.__dict__ |= state | {"_compiled": {}, "_alone": Lock()}

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any weight: an index stores them to recognise its model."""
        return fingerprint(self.model)

    @property
    def activation(self) -> Activation:
        """Of both towers; the fingerprint does not cover it."""
        return self.model.config.activation

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return float(self.model.scale())

    def read(self, path: str | Path) -> Picture:
        """The picture in a file, resized and cropped for the model. Raises ItemError when it cannot be used."""
        fitting = self.model.fitting
        return preprocess(decode(read_file(path), str(path), least=fitting.side or self.size), self.size, fitting)

    def pictures(self, pictures: Sequence[Picture]) -> Vectors:
        """Unit rows [N, E] of pictures of any size, resized and cropped for the model unless they have its size.

        Raises UsageError for what is no picture.
        """
        pictures = list(pictures)
        if not pictures:
            return np.zeros((0, self.width), np.float32)
        return self.fitted(self._fitting(pictures))

    def fitted(self, pictures: torch.Tensor) -> Vectors:
        """Unit rows [N, E] of pictures float [N, 3, S, S] in [0, 1] that have the model's size."""
        return self._encoded(self.model.encode_image, pictures)

    def features(self, pictures: Sequence[Picture]) -> Vectors:
        """The picture tower's features before its projection, [N, D]: for linear probes (section 3.2).

        Raises UsageError for what is no picture, and for none.
        """
        pictures = list(pictures)
        if not pictures:
            raise UsageError("there are no pictures to compute features of.")
        return self._encoded(self.model.image_features, self._fitting(pictures))

    def _fitting(self, pictures: Sequence[Picture]) -> torch.Tensor:
        check_pixels(*pictures)
        own = (self.size, self.size)
        return to_tensor(
            np.stack(
                [one if one.shape[:2] == own else preprocess(one, self.size, self.model.fitting) for one in pictures]
            )
        )

    def texts(self, texts: Sequence[str], cut: bool = False) -> Vectors:
        """Unit rows [N, E] of sentences.

        Raises UsageError for one that is too long for the model, unless it may be `cut`, or that is not UTF-8.
        """
        check_list(texts, "texts")
        texts = list(texts)
        if not texts:
            return np.zeros((0, self.width), np.float32)
        return self.tokens(torch.from_numpy(self.tokenize(texts, cut)))

    def tokens(self, ids: torch.Tensor) -> Vectors:
        """Unit rows [N, E] of token ids int64 [N, L]."""
        return self._encoded(self.model.encode_text, ids)

    @torch_defaults()
    @torch.inference_mode()
    def _encoded(self, encode: Any, rows: torch.Tensor) -> Vectors:
        vectors: Vectors = encode_fixed(self._by_engine(encode), rows, self.batch).numpy()
        return vectors

    def _by_engine(self, encode: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        """`encode` run by the engine, for a batch on the CPU."""
        name = encode.__name__
        if self.engine == "openvino":
            return lambda part: self._by_openvino(name, encode, part)

        def plain(part: torch.Tensor) -> torch.Tensor:
            with fast_products(self.device, self.precision == "bf16"):
                encoded: torch.Tensor = encode(part.to(self.device)).float().cpu()
            return encoded

        return plain

    def _by_openvino(self, name: str, encode: Any, part: torch.Tensor) -> torch.Tensor:
        here = name, os.getpid()
        with self._alone:
            if here not in self._compiled:
                self._compiled[here] = compiled(encode, self.model, part, self.precision)
            encoded: torch.Tensor = self._compiled[here](part)
        return encoded


def place_of(name_or_path: str | Path) -> Path:
    """The file or folder of published weights; those of the hub are fetched."""
    name = str(name_or_path)
    return fetch(name) if name.startswith(PREFIX) else Path(name_or_path)


def _located(name_or_path: str | Path) -> str:
    """An absolute path, which names a model wherever a command is run; shipped names and the hub's as they are."""
    name = str(name_or_path)
    return name if name in shipped() or name.startswith(PREFIX) else str(Path(name).resolve())

"""A run of `pinxit train dalle`: where each stage leaves its results and how the next one opens them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pinxit.data.bank import Bank
from pinxit.data.bank_layout import MANIFEST
from pinxit.data.sources import WORLD
from pinxit.errors import UsageError
from pinxit.files import write_json
from pinxit.models.clip import CLIP
from pinxit.models.dvae import DVAE
from pinxit.models.transformer import TokenTransformer
from pinxit.recipes.dalle.presets import DalleConfig
from pinxit.text.tokenizers import Tokenizer
from pinxit.training import state as states
from pinxit.training.plan import Plan
from pinxit.training.runs import enter

if TYPE_CHECKING:
    from torch import nn

    from pinxit.recipes.dalle.train_transformer import CodeRows
    from pinxit.weights.checkpoint import Checkpoint

RECIPE = "dalle"
START = "start.json"  # of a run that goes on from a checkpoint: what that was made of
Module = TypeVar("Module", bound="nn.Module")
TRAINED = {  # the stages that train, each with the noises it adds
    "dvae": ("kl_weight", "kl_images", "temperature", "temperature_images"),
    "transformer": ("bpe_dropout", "caption_drop"),
    "clip": ("redrawn",),
}
STAGES = ("pictures", "tokenizer", "dvae", "codes", "transformer", "clip", "checkpoint")


@dataclass(frozen=True)
class DalleRun:
    """One run folder and how this sitting works on it."""

    folder: Path
    config: DalleConfig
    device: str = "auto"
    progress: bool = True
    init: Checkpoint | None = None  # where fresh stages take their weights and tokenizer from

    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used."""
        used: dict[str, Callable[[], bool]] = {"vocab": lambda: self.finished("tokenizer")}
        for section in ("data", "seed"):
            used[section] = lambda: self.path("pictures").exists()
        for stage, fields in TRAINED.items():
            started = partial(states.exists, self.path(stage))
            used |= dict.fromkeys((stage, f"plans.{stage}", *(f"noise.{field}" for field in fields)), started)
        used["alike"] = partial(states.exists, self.path("transformer"))
        enter(self.folder, RECIPE, self.config, used)
        if self.init is not None and not (self.folder / START).is_file():
            write_json(self.folder / START, {"checkpoint": self.init.hash, **self.init.provenance})

    def start(self) -> dict[str, Any]:
        """What the checkpoint that the run started from says of itself; nothing when it started from nothing."""
        path = self.folder / START
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return found

    def path(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.folder / stage

    def plan(self, stage: str) -> Plan:
        """The plan of a stage that trains something."""
        plan = getattr(self.config.plans, stage)
        assert isinstance(plan, Plan)
        return plan

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "pictures":
            folders = ["pictures", "ranking"] if self.grouped else ["pictures"]
            return all((self.path(name) / MANIFEST).is_file() for name in folders)
        if stage == "tokenizer":
            return (self.path("tokenizer") / "words.json").is_file()
        if stage == "codes":
            return (self.path("codes") / "codes.npy").is_file()
        if stage == "checkpoint":
            return (self.path("checkpoint") / "pinxit.json").is_file()
        folder = self.path(stage)  # a stage of no images is finished once it has taken over the weights it starts from
        return states.exists(folder) and states.read_progress(folder).images >= self.plan(stage).images

    def need(self, stage: str, *earlier: str) -> None:
        """Raise UsageError when a stage that `stage` builds on is not finished."""
        for name in earlier:
            if not self.finished(name):
                raise UsageError(f"stage {stage} builds on stage {name}, which is not finished in {self.folder}.")

    def bank(self) -> Bank:
        """The pictures of the dVAE and the transformer."""
        return Bank.open(self.path("pictures"))

    @property
    def grouped(self) -> bool:
        """Whether CLIP has pictures of its own, in fours of neighbours: only the world can draw them."""
        return self.config.data.source.startswith(WORLD) and self.config.data.ranking > 0

    def ranking_bank(self) -> Bank:
        """The pictures of CLIP."""
        return Bank.open(self.path("ranking")) if self.grouped else self.bank()

    def tokenizer(self) -> Tokenizer:
        """What the tokenizer stage made."""
        return Tokenizer.open(self.path("tokenizer"))

    def codes(self) -> CodeRows:
        """Codes uint16 [N, h, w] of the bank's pictures."""
        codes: CodeRows = np.load(self.path("codes") / "codes.npy", mmap_mode="r", allow_pickle=False)
        return codes

    def dvae(self) -> DVAE:
        """The trained dVAE with its averaged weights, ready for use."""
        return self._filled("dvae", DVAE(self.config.dvae))

    def transformer(self) -> TokenTransformer:
        """The trained token transformer with its averaged weights, ready for use."""
        return self._filled("transformer", TokenTransformer(self.config.transformer))

    def clip(self) -> CLIP:
        """The trained CLIP with its averaged weights, ready for use."""
        return self._filled("clip", CLIP(self.config.clip))

    def _filled(self, stage: str, module: Module) -> Module:
        module.load_state_dict(states.read_weights(self.path(stage), stage))
        module.eval().requires_grad_(False)
        return module

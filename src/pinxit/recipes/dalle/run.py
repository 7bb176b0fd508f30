"""A run of `pinxit train dalle`: where each stage leaves its results and how the next one opens them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pinxit.data.bank import Bank
from pinxit.data.bank_layout import MANIFEST
from pinxit.data.stream_codes import KIND, StreamCodes
from pinxit.data.streams import Stream, has_pictures
from pinxit.errors import DataError, UsageError
from pinxit.models.clip import CLIP
from pinxit.models.dvae import DVAE
from pinxit.models.transformer import TokenTransformer, TransformerConfig
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.growing import GrownWeights, Tokens, newly_initialised
from pinxit.recipes.run_sidecars import all_encoded, sidecar_folder
from pinxit.recipes.staging import Run
from pinxit.recipes.warm_start import StartingRun, note_start
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.runs import enter
from pinxit.weights.checkpoint import fingerprint

if TYPE_CHECKING:
    from pinxit.recipes.dalle.train_transformer import CodeRows
    from pinxit.recipes.published import Start
    from pinxit.training.loop import Task, Weights

RECIPE = "dalle"
TRAINED = {  # the stages that train, each with the fields of `NoiseConfig` that it uses
    "dvae": ("kl_weight", "kl_images", "temperature", "temperature_images"),
    "transformer": ("bpe_dropout", "caption_drop"),
    "clip": ("reconstructed", "corrupted", "mirrored"),
}
CODES, ABOUT = "codes.npy", "codes.json"
STAGES = ("pictures", "tokenizer", "dvae", "codes", "transformer", "clip", "checkpoint")


@dataclass(frozen=True)
class DalleRun(StartingRun[DalleConfig]):
    """One run folder and how this process works on it.

    `grow`: a new run grows the models of `init` to those of its config, and learns tokens of its own.
    """

    grow: bool = False

    MARKS = Run.MARKS | {"codes": CODES}

    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used.

        The same goes for the checkpoint that the run starts from, and for a dVAE that would be trained further although
        a transformer has learnt its codes, which would become others.
        """
        self.check_start()
        if self.started("transformer") and not self.finished("dvae"):
            learnt = f"{self.path('transformer')} has learnt the codes of the dVAE as it is"
            raise UsageError(
                f"{learnt}: leave plans.dvae.images as it is, or delete that folder to train both further."
            )
        learned = partial(self.finished, "tokenizer")
        used: dict[str, Callable[[], bool]] = {"vocab": learned, "spell": learned}
        for section in ("data", "seed"):
            used[section] = lambda: self.path("pictures").exists()
        for stage, fields in TRAINED.items():
            started = partial(self.started, stage)
            used |= dict.fromkeys((stage, f"plans.{stage}", *(f"noise.{field}" for field in fields)), started)
        used |= dict.fromkeys(("codebook_init", "count_pads"), partial(self.started, "transformer"))
        enter(self.folder, RECIPE, self.config, used)
        note_start(self.folder, self.init, grow=self.grow)

    def check_start(self) -> None:
        """Raise UsageError also for a run that was started without growing and is to grow now."""
        super().check_start()
        if self.grow and not self.grown:
            raise UsageError(f"{self.folder} was started without --grow: leave it out or train into another folder.")

    @property
    def grown(self) -> bool:
        """Whether the checkpoint's models are grown: as the run was started, or else as it is to start."""
        return bool(self.start().get("grow", self.grow))

    @property
    def trained(self) -> tuple[str, ...]:
        return tuple(TRAINED)

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "codes" and self.config.data.stream:
            return all_encoded(self, "codes", KIND)
        if stage == "pictures":
            ranked = not self.grouped or (self.path("ranking") / MANIFEST).is_file()
            return ranked and has_pictures(self.path(stage))
        return super().finished(stage)

    @property
    def grouped(self) -> bool:
        """Whether CLIP has pictures of its own (`DalleConfig.grouped`)."""
        return self.config.grouped

    def ranking_bank(self) -> Bank | Stream:
        """The pictures that CLIP is trained on."""
        return Bank.open(self.path("ranking")) if self.grouped else self.pictures()

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of stage `tokenizer`."""
        return Tokenizer.open(self.path("tokenizer"))

    def codes(self) -> CodeRows | StreamCodes:
        """Codes uint16 [N, h, w] of the pictures. Raises DataError for those of another dVAE."""
        dvae = fingerprint(self.dvae())
        if isinstance(pictures := self.pictures(), Stream):
            return StreamCodes.open(pictures, sidecar_folder(self, "codes"), dvae)
        if self.about_codes().get("dvae") != dvae:
            raise self.outdated_codes()
        codes: CodeRows = np.load(self.path("codes") / CODES, mmap_mode="r", allow_pickle=False)
        return codes

    def about_codes(self) -> dict[str, Any]:
        """The content of codes.json: which dVAE made the codes, of how many pictures, and how many codes are in use.

        {} where there is none, or none that can be read.
        """
        try:
            content = json.loads((self.path("codes") / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def outdated_codes(self) -> DataError:
        """What is said where the dVAE has been trained further since it made the codes."""
        learnt = self.path("transformer")
        fix = f"delete {learnt} to train it anew" if learnt.exists() else "run stage codes again"
        return DataError(f"the dVAE is no longer the one that made {self.path('codes')}: {fix}.")

    def dvae(self) -> DVAE:
        """The trained dVAE with its averaged weights, ready for use."""
        return self.averaged("dvae", DVAE(self.config.dvae))

    @property
    def renews_tokens(self) -> bool:
        """Whether the run learns text tokens of its own, although it starts from a checkpoint that has some."""
        if self.init is None or self.grown:
            return self.init is not None
        spell = Tokenizer.open(self.init.folder).spell
        return (self.config.vocab, self.config.spell) != (self._vocab_before(self.init), spell)

    GROWS = frozenset(("transformer", "clip"))

    def brought(self, task: Task) -> Weights | None:
        """The initial weights of a task: the start checkpoint's, grown to this config's models and tokens."""
        weights = super().brought(task)
        if weights is None or self.init is None or task.name == "dvae":
            return weights
        old = Tokens(Tokenizer.open(self.init.folder), self._vocab_before(self.init))
        new = Tokens(self.tokenizer(), self.config.vocab)
        return {name: GrownWeights(name, task.modules()[name], state, old, new) for name, state in weights.items()}

    def lacks(self, task: Task) -> list[str]:
        if self.init is None or not self.grows(task.name) or self.started(task.name):
            return super().lacks(task)
        more, found = self.config.vocab - self._vocab_before(self.init), list[str]()
        for name, module in task.modules().items():
            anew = newly_initialised(name, module.state_dict(), self.init.state(name), more, self.renews_tokens)
            found += [f"{name}/{key}" for key in anew]
        return found

    def _vocab_before(self, init: Start) -> int:
        return init.config("transformer", TransformerConfig).text_vocab

    def transformer(self) -> TokenTransformer:
        """The trained token transformer with its averaged weights, ready for use."""
        return self.averaged("transformer", TokenTransformer(self.config.transformer))

    def clip(self) -> CLIP:
        """The trained CLIP with its averaged weights, ready for use."""
        return self.averaged("clip", CLIP(self.config.clip))

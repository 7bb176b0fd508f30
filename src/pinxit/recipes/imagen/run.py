"""A run of `pinxit train imagen`: where each stage leaves its results and what the next one is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

from pinxit.data.bank import Bank
from pinxit.data.bank_layout import MANIFEST
from pinxit.models.text import TextTransformer
from pinxit.recipes.imagen.presets import ImagenConfig
from pinxit.recipes.imagen.task import TEXT, DiffusionTask
from pinxit.recipes.staging import Run
from pinxit.text.encoders import TextEncoder, open_text_encoder
from pinxit.text.frozen import Running
from pinxit.text.learned import LearnedText
from pinxit.text.tokenizers import Tokenizer
from pinxit.training import state as states
from pinxit.training.draws import seeded
from pinxit.training.runs import enter

RECIPE = "imagen"
TRAINED = ("base", "upsampler")
STAGES = ("pictures", "tokenizer", *TRAINED, "checkpoint")
BANKS = {"base": "pictures", "upsampler": "large"}


class ImagenRun(Run[ImagenConfig]):
    """One run folder and how this sitting works on it."""

    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used."""
        used: dict[str, Callable[[], bool]] = dict.fromkeys(("data", "seed"), self.path("pictures").exists)
        for stage in TRAINED:
            used |= dict.fromkeys((stage, f"plans.{stage}"), partial(self.started, stage))
        used["text"] = lambda: any(map(self.started, TRAINED))
        enter(self.folder, RECIPE, self.config, used)

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "tokenizer" and self.config.text.learned is None:
            return True  # a frozen reader has its own
        both = stage != "pictures" or (self.path("large") / MANIFEST).is_file()
        return both and super().finished(stage)

    def task(self, stage: str) -> DiffusionTask:
        """What a stage trains, with its pictures and its reader of captions."""
        bank, reader, config = Bank.open(self.path(BANKS[stage])), self.reader(stage), self.config
        return DiffusionTask(
            stage,
            getattr(config, stage),
            config.seed,
            (reader.length, reader.width),
            bank,
            reader,
            config.text.drop,
            script=config.data.script,
            teaches=stage == "base",
        )

    def reader(self, stage: str) -> TextEncoder:
        """Who reads the captions: the frozen encoder, or the learned one as `stage` has it."""
        text = self.config.text
        if text.learned is None:
            return self._frozen
        built = text.learned
        model = seeded(lambda: TextTransformer(built), self.config.seed, TEXT)
        if stage != "base":
            model.load_state_dict(states.read_weights(self.path("base"), TEXT))
        return LearnedText(model, Tokenizer.open(self.path("tokenizer")), running=Running(text.length))

    @cached_property
    def _frozen(self) -> TextEncoder:
        text = self.config.text
        return open_text_encoder(text.encoder, length=text.length, precision="bf16")

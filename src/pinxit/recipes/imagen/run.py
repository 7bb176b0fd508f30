"""A run of `pinxit train imagen`: where each stage keeps its results and how the next one opens them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

from pinxit.data.bank import Bank
from pinxit.data.embeddings import Embeddings
from pinxit.data.embeddings_builder import MANIFEST as READ
from pinxit.data.stream_texts import KIND, StreamTexts
from pinxit.data.streams import Stream, has_pictures
from pinxit.errors import UsageError
from pinxit.models.text import TextTransformer
from pinxit.recipes.diffusion.reading import training_reader
from pinxit.recipes.diffusion.stages import open_texts
from pinxit.recipes.diffusion.task import TEXT, DiffusionTask
from pinxit.recipes.imagen.config import ONCE, ImagenConfig
from pinxit.recipes.published import Start
from pinxit.recipes.run_sidecars import all_encoded
from pinxit.recipes.staging import say
from pinxit.recipes.warm_start import StartingRun
from pinxit.text.encoders import TextEncoder
from pinxit.text.frozen import EncoderOptions
from pinxit.text.learned import LearnedText
from pinxit.text.tokenizers import Tokenizer
from pinxit.training import state as states
from pinxit.training.initial import network
from pinxit.training.plan import Plan
from pinxit.training.precision import pick_device
from pinxit.training.runs import FILE, config_of, enter

RECIPE = "imagen"


def bank_of(stage: str) -> str:
    """The name of the folder of a network's pictures."""
    return ONCE.get(stage, f"{stage}-pictures")


def texts_of(stage: str) -> str:
    """The name of the folder of their captions, encoded beforehand."""
    bank = bank_of(stage)
    return {"pictures": "texts"}.get(bank, f"{bank}-texts")


@dataclass(frozen=True)
class ImagenRun(StartingRun[ImagenConfig]):
    """One run folder and how this process works on it."""

    MARKS: ClassVar[dict[str, str]] = StartingRun.MARKS | {"texts": READ}

    @property
    def stages(self) -> tuple[str, ...]:
        """All stages, in order."""
        return ("pictures", "tokenizer", "texts", *self.config.cascade, "checkpoint")

    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used.

        The same goes for the checkpoint that the run starts from.
        """
        self.check_start()
        self._check_plans()
        self._check_learned_text()
        counts = (f"stages.{stage}.pictures" for stage in self.config.cascade)
        banks = [self.path(bank_of(stage)) for stage in self.config.cascade]  # one that rests has none
        used: dict[str, Callable[[], bool]] = dict.fromkeys(
            ("data", "seed", *counts), lambda: any(bank.exists() for bank in banks)
        )
        for stage in (*self.config.cascade, *self._before):  # a network that has been trained cannot be removed either
            used[f"stages.{stage}"] = partial(self.started, stage)
        used |= dict.fromkeys((f"text.{name}" for name in ("encoder", "length", "spell", "stored")), self._read)
        used["text"] = lambda: any(map(self.started, self.config.cascade))
        enter(self.folder, RECIPE, self.config, used)
        self.note_start()

    @property
    def _before(self) -> tuple[str, ...]:
        """The networks that the run had when its config was last written."""
        return config_of(self.folder, RECIPE, ImagenConfig).cascade if (self.folder / FILE).is_file() else ()

    @property
    def trained(self) -> tuple[str, ...]:
        return self.config.cascade

    def plan(self, stage: str) -> Plan:
        return self.config.stage(stage).plan

    def _check_plans(self) -> None:
        """Raise UsageError where the checkpoint would hold networks that were never trained."""
        if not self.learning:
            first = f"stages.{self.config.cascade[0]}.plan.images"
            raise UsageError(f"no network has pictures to learn from: set {first} or another plan's.")
        resting = [stage for stage in self.config.cascade if stage not in self.learning]
        if resting and self.init is None and not self.start():
            reason = f"stages.{resting[0]}.plan.images=0 keeps what a checkpoint brought"
            raise UsageError(f"{reason}: name one by --init-from.")
        for stage in resting:
            if self.init is not None and not self.started(stage):
                self._check_brought(self.init, stage)

    def _check_learned_text(self) -> None:
        """Raise UsageError where the base trains its text encoder further, and another network has learned from it.

        The embeddings would become others than that network knows. One that was brought and rests is only spoken of.
        """
        first, *others = self.config.cascade
        if self.config.text.learned is None or not self.plan(first).images or self.finished(first):
            return
        for stage in (one for one in others if self.config.stage(one).unet.text):
            if self.started(stage):
                learned = f"{self.path(stage)} has learned from the text encoder as {first} has trained it"
                fix = f"leave stages.{first}.plan.images as it is, or delete that folder to train both further"
                raise UsageError(f"{learned}: {fix}.")
            if not self.plan(stage).images:
                fix = f"set stages.{stage}.plan.images to train it, too"
                say(self, f"{stage} stays as it was trained on another text encoder than {first} trains: {fix}")

    def _check_brought(self, init: Start, stage: str) -> None:
        """Raise UsageError where `init` lacks the network of a stage, or a text encoder that is learned with it."""
        learned = stage == self.config.cascade[0] and self.config.text.learned is not None
        for part in (stage, TEXT) if learned else (stage,):
            if part not in init.parts:
                reason = f"stages.{stage}.plan.images=0 keeps what a checkpoint brought"
                raise UsageError(f"{reason}, and {init.folder} has no {part}: set it, to train one.")

    def _texts_read(self, stage: str) -> bool:
        """Whether all captions of a network's pictures have been encoded beforehand."""
        if self.config.data.stream:
            return all_encoded(self, texts_of(stage), KIND, bank_of(stage))
        return (self.path(texts_of(stage)) / READ).is_file()

    def _read(self) -> bool:
        """Whether captions have been encoded beforehand."""
        return any((self.path(texts_of(name)) / READ).is_file() for name in self.config.cascade)

    @property
    def banks(self) -> list[Path]:
        """The folders of pictures that the networks of this run need."""
        return [self.path(bank_of(stage)) for stage in self.learning]

    @property
    def conditional(self) -> tuple[str, ...]:
        """Of the networks that train on pictures, those conditioned on their captions."""
        return tuple(stage for stage in self.learning if self.config.stage(stage).unet.text)

    @property
    def learning(self) -> tuple[str, ...]:
        """The networks that are trained; others keep the weights of the start checkpoint."""
        return tuple(stage for stage in self.config.cascade if self.plan(stage).images)

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "tokenizer" and self.config.text.learned is None:
            return True  # a frozen text encoder has its own
        if stage == "texts":
            return not self.config.text.stored or all(map(self._texts_read, self.conditional))
        if stage == "pictures":
            return all(map(has_pictures, self.banks))
        return super().finished(stage)

    def task(self, stage: str) -> DiffusionTask:
        """The task of a stage, with its pictures and its text encoder.

        Raises UsageError where this or another stage takes text of another width, before any of them is trained.
        """
        reader, config = self.reader(stage), self.config
        self._check_widths(reader)
        bank, stored = self.pictures(bank_of(stage)) if stage in self.learning else None, None
        if bank is not None and config.stage(stage).unet.text and config.text.stored:
            stored = self.stored(stage, bank, reader)
        return DiffusionTask(
            stage,
            config.stage(stage),
            config.seed,
            (reader.length, reader.width),
            bank,
            reader,
            config.text.drop,
            config.text.noise,
            script=config.data.script,
            teaches=stage == config.cascade[0],
            stored=stored,
        )

    def _check_widths(self, reader: TextEncoder) -> None:
        for stage in self.config.stages:
            if stage.unet.text not in (0, reader.width):
                place = f"stages.{stage.name}.unet"
                raise UsageError(
                    f"text encoder {reader.name} gives vectors of width {reader.width}, and {place}.text="
                    f"{stage.unet.text}; set {place}.text={reader.width} (and a {place}.pool_heads that divides it)."
                )

    def stored(self, stage: str, bank: Bank | Stream, reader: TextEncoder) -> Embeddings | StreamTexts:
        """The captions of a stage's pictures as the frozen text encoder has encoded them beforehand."""
        return open_texts(self, texts_of(stage), bank, reader)

    def reader(self, stage: str) -> TextEncoder:
        """The text encoder of a stage: the frozen one, or the learned one, fresh for the base, trained for the rest."""
        text = self.config.text
        if text.learned is None:
            return self.frozen
        built = text.learned
        if stage == (first := self.config.cascade[0]):
            model = network(lambda: TextTransformer(built), self.config.seed, TEXT)
        else:
            model = TextTransformer(built)
            model.load_state_dict(states.read_weights(self.path(first), TEXT))
        return LearnedText(model, Tokenizer.open(self.path("tokenizer")), running=EncoderOptions(text.length))

    @cached_property
    def frozen(self) -> TextEncoder:
        """The frozen text encoder, on the device of the run."""
        return training_reader(self.config.text, pick_device(self.device))

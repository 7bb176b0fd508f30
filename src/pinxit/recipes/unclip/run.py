"""A run of `pinxit train unclip`: where each stage keeps its results and how the next one opens them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, TypeVar

from pinxit.data.bank import Bank
from pinxit.data.embeddings import Embeddings
from pinxit.data.embeddings_builder import MANIFEST as ENCODED
from pinxit.data.stream_texts import KIND as TEXT_SIDECARS
from pinxit.data.stream_texts import StreamTexts
from pinxit.data.stream_vectors import KIND as VECTOR_SIDECARS
from pinxit.data.stream_vectors import StreamVectors
from pinxit.data.streams import Stream, has_pictures
from pinxit.data.vectors import MANIFEST as VECTORS
from pinxit.data.vectors import Vectors
from pinxit.errors import DataError, UsageError
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.config import Stage
from pinxit.recipes.diffusion.reading import training_reader
from pinxit.recipes.diffusion.stages import open_texts
from pinxit.recipes.diffusion.task import DiffusionTask
from pinxit.recipes.run_sidecars import all_encoded, sidecar_folder
from pinxit.recipes.staging import say
from pinxit.recipes.unclip.checks import check_plans
from pinxit.recipes.unclip.config import DECODER, SPACE, PriorStage, UnclipConfig
from pinxit.recipes.unclip.first_inputs import first_inputs
from pinxit.recipes.unclip.space import Space
from pinxit.recipes.unclip.space_file import FILE as SPACE_FILE
from pinxit.recipes.unclip.space_file import read_space
from pinxit.recipes.unclip.task import Pairs, PriorTask
from pinxit.recipes.warm_start import StartingRun
from pinxit.text.encoders import TextEncoder
from pinxit.training.loop import Task, Weights
from pinxit.training.plan import Plan
from pinxit.training.precision import pick_device
from pinxit.training.runs import FILE, config_of, enter

SIDECARS = {
    "texts": TEXT_SIDECARS,
    "vectors": VECTOR_SIDECARS,
}  # stages whose results, for a stream, are sidecars of its shards
S = TypeVar("S", PriorStage, Stage)
RECIPE, BASE = "unclip", "imagen"  # the recipes whose checkpoints a run may start from


@dataclass(frozen=True)
class UnclipRun(StartingRun[UnclipConfig]):
    """One run folder and how this process works on it."""

    MARKS: ClassVar[dict[str, str]] = StartingRun.MARKS | {"texts": ENCODED, "vectors": VECTORS, SPACE: SPACE_FILE}

    @property
    def stages(self) -> tuple[str, ...]:
        """All stages, in order."""
        return ("pictures", "texts", "vectors", SPACE, *self.trained, "checkpoint")

    @property
    def trained(self) -> tuple[str, ...]:
        return (*(prior.name for prior in self.priors), DECODER, *(one.name for one in self.upsamplers))

    @property
    def priors(self) -> tuple[PriorStage, ...]:
        """The priors of this run: those that are trained, or come with the start checkpoint."""
        return self._included(self.config.priors)

    @property
    def upsamplers(self) -> tuple[Stage, ...]:
        """The upsamplers of this run, in order: those that are trained, or come with the start checkpoint."""
        return self._included(self.config.upsamplers)

    def _included(self, stages: Iterable[S]) -> tuple[S, ...]:
        """Those that are trained, come with the start checkpoint, or have been begun."""
        brought = self.start().get("parts", ()) if self.init is None else tuple(self.init.parts)
        return tuple(one for one in stages if one.plan.images or one.name in brought or self.started(one.name))

    @property
    def banks(self) -> dict[str, Stage]:
        """The folders of pictures that networks are trained on, with their stages; CLIP's is `clip_pictures`."""
        learning = {f"{one.name}-pictures": one for one in self.upsamplers if one.plan.images}
        return {"pictures": self.config.decoder} | learning

    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used.

        The same goes for the checkpoint that the run starts from.
        """
        self.check_start()
        check_plans(self.config, self.priors, self.upsamplers, self.init is not None or bool(self.start()))
        drawn, seen = self.path("pictures").exists, self.path("vectors").exists
        used: dict[str, Callable[[], bool]] = dict.fromkeys(("data", "seed", "decoder.pictures"), drawn)
        used |= {"text.stored": seen, "clip": lambda: seen() and not self._same_clip()}
        used |= dict.fromkeys((f"text.{name}" for name in ("encoder", "length", "spell")), self._captions_used)
        used[SPACE] = partial(self.finished, SPACE)
        used |= {"text": partial(self.started, DECODER), "drop_image": partial(self.started, DECODER)}
        used |= {DECODER: partial(self.started, DECODER), "whole": partial(self.started, DECODER)}
        # A network that has been trained cannot be removed either.
        for name in {one.name for one in (*self.config.upsamplers, *self._before.upsamplers)}:
            used[f"upsamplers.{name}"] = partial(self.started, name)
        for name in {one.name for one in (*self.config.priors, *self._before.priors)}:
            used[f"priors.{name}"] = partial(self.started, name)
        enter(self.folder, RECIPE, self.config, used)
        self.note_start()

    @property
    def _before(self) -> UnclipConfig:
        """The config as it was last written."""
        return config_of(self.folder, RECIPE, UnclipConfig) if (self.folder / FILE).is_file() else self.config

    def plan(self, stage: str) -> Plan:
        if stage == DECODER:
            return self.config.decoder.plan
        return (self.config.upsampler(stage) if self._is_upsampler(stage) else self.config.prior(stage)).plan

    def _is_upsampler(self, stage: str) -> bool:
        return any(one.name == stage for one in self.config.upsamplers)

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "pictures":
            return all(has_pictures(self.path(name)) for name in (*self.banks, self.clip_pictures))
        if stage in SIDECARS and self.config.data.stream:
            wanted = stage != "texts" or self.config.text.stored
            return not wanted or all_encoded(self, stage, SIDECARS[stage])
        if stage == "texts":
            return not self.config.text.stored or (self.path("texts") / ENCODED).is_file()
        return super().finished(stage)

    def brought(self, task: Task) -> Weights | None:
        """The start checkpoint's weights for the modules of `task`; an Imagen's base is for the decoder."""
        if self.init is None or self.init.recipe == RECIPE:
            return super().brought(task)
        if isinstance(task, DiffusionTask) and task.name == DECODER:
            base = self.init.state(next(iter(self.init.parts)))
            begins = task.bank is not None and not self.started(DECODER)
            if begins:
                say(self, f"{DECODER}: its inputs for embeddings are fitted to what the base makes of captions")
            return {DECODER: base | (first_inputs(task, base) if begins else {})}
        return super().brought(task) if self._is_upsampler(task.name) else {}

    @property
    def clip_pictures(self) -> str:
        """The folder of the pictures for CLIP: "seen", if its size is not the decoder's.

        A stream's are read while its shards are encoded.
        """
        return "pictures" if self.config.data.stream or self.clip.size == self.config.decoder.size else "seen"

    def task(self, name: str) -> Task:
        """The task of a stage. Raises UsageError where this or another one takes text of another width."""
        self._check_widths()
        if self._is_upsampler(name):
            return self.upsampler_task(name)
        return self.decoder_task() if name == DECODER else self.prior_task(name)

    def prior_task(self, name: str) -> PriorTask:
        """The task of a prior's stage, with its pairs."""
        return PriorTask(self.config.prior(name), self.config.seed, self.pairs)

    def decoder_task(self) -> DiffusionTask:
        """The task of the decoder's stage, with its pictures."""
        config, bank, reader = self.config, self.pictures(), self.reader
        return DiffusionTask(
            DECODER,
            config.decoder,
            config.seed,
            (reader.length, reader.width),
            bank,
            reader,
            config.text.drop,
            config.text.noise,
            script=config.data.script,
            stored=self._stored(bank) if config.decoder.unet.text and config.text.stored else None,
            image_rows=self.pairs.coordinates,
            drop_image=config.drop_image,
            whole=config.whole,
        )

    def upsampler_task(self, name: str) -> DiffusionTask:
        """The task of an upsampler's stage; one with 0 images keeps its weights and needs no pictures."""
        config, reader = self.config.upsampler(name), self.reader
        bank = self.pictures(f"{name}-pictures") if config.plan.images else None
        drop, script, whole = self.config.text.drop, self.config.data.script, self.config.whole
        shape = (reader.length, reader.width)
        return DiffusionTask(name, config, self.config.seed, shape, bank, reader, drop, script=script, whole=whole)

    @cached_property
    def pairs(self) -> Pairs:
        """Pictures and captions as vectors. Raises DataError for vectors of another CLIP or of other pictures."""
        vectors = self.vectors
        stored = self._stored(self.pictures()) if self.config.text.stored else None
        if isinstance(vectors, Vectors) and isinstance(stored, Embeddings):
            vectors.require_captions(stored)
        return Pairs(vectors, self.space, self.reader, stored)

    @property
    def vectors(self) -> Vectors | StreamVectors:
        """CLIP embeddings of pictures and captions. Raises DataError for those of another CLIP or of other pictures."""
        if self.config.data.stream:
            return StreamVectors.open(self.stream, sidecar_folder(self, "vectors"), self.clip, self.config.data.script)
        vectors = Vectors.open(self.path("vectors"))
        vectors.require(self.clip, Bank.open(self.path(self.clip_pictures)))
        return vectors

    @property
    def stream(self) -> Stream:
        """The decoder's pictures, if the run reads shards while it trains."""
        return Stream.open(self.path("pictures"))

    @property
    def space(self) -> Space:
        """The fitted space. Raises DataError for that of another CLIP."""
        return read_space(self.path(SPACE), self.clip.fingerprint)

    @cached_property
    def clip(self) -> ClipEncoder:
        """The CLIP whose embeddings are predicted. Raises UsageError if its width is not the space's."""
        clip = ClipEncoder.open(self.config.clip, self.device)
        if clip.width != self.config.space.embed:
            problem = f"clip {self.config.clip} gives embeddings of width {clip.width}"
            places = ("space.embed", *(f"priors.{one.name}.network.embed" for one in self.config.priors))
            raise UsageError(f"{problem}, and space.embed={self.config.space.embed}: set {', '.join(places)}.")
        return clip

    @cached_property
    def reader(self) -> TextEncoder:
        """The frozen text encoder, on the device of the run."""
        return training_reader(self.config.text, pick_device(self.device))

    def _same_clip(self) -> bool:
        """Whether the stored embeddings are this CLIP's, whatever its name was then."""
        try:
            return self._before.clip == self.config.clip or len(self.vectors) > 0
        except DataError:
            return False

    def _stored(self, bank: Bank | Stream) -> Embeddings | StreamTexts:
        return open_texts(self, "texts", bank, self.reader)

    def _check_widths(self) -> None:
        widths = {f"priors.{one.name}.network.text": one.network.text for one in self.config.priors}
        widths |= {"decoder.unet.text": self.config.decoder.unet.text}
        widths |= {f"upsamplers.{one.name}.unet.text": one.unet.text for one in self.upsamplers}
        for place, expected in widths.items():
            if expected not in (0, self.reader.width):
                width = self.reader.width
                problem = f"text encoder {self.reader.name} gives vectors of width {width}, and {place}={expected}"
                raise UsageError(f"{problem}; set {place}={width}.")

    def _captions_used(self) -> bool:
        """Whether captions have been encoded beforehand, or a network has begun to train with the text encoder."""
        return (self.path("texts") / ENCODED).is_file() or any(map(self.started, self.trained))

"""A run of `pinxit train unclip`: where each stage leaves its results and what the next one is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

from pinxit.data.bank import Bank
from pinxit.data.embeddings import Embeddings
from pinxit.data.embeddings_builder import MANIFEST as READ
from pinxit.data.stream_texts import KIND as READ_BESIDE
from pinxit.data.stream_texts import StreamTexts
from pinxit.data.stream_vectors import KIND as SEEN_BESIDE
from pinxit.data.stream_vectors import StreamVectors
from pinxit.data.streams import Stream, stored
from pinxit.data.vectors import MANIFEST as SEEN
from pinxit.data.vectors import Vectors
from pinxit.errors import DataError, UsageError
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.config import Stage
from pinxit.recipes.diffusion.reading import training_reader
from pinxit.recipes.diffusion.task import DiffusionTask
from pinxit.recipes.run_sidecars import all_encoded, sidecar_folder
from pinxit.recipes.unclip.checks import check_plans
from pinxit.recipes.unclip.config import DECODER, SPACE, PriorStage, UnclipConfig
from pinxit.recipes.unclip.space import Space
from pinxit.recipes.unclip.space_file import FILE as FITTED
from pinxit.recipes.unclip.space_file import read_space
from pinxit.recipes.unclip.task import Pairs, PriorTask
from pinxit.recipes.warm_start import StartingRun
from pinxit.text.encoders import TextEncoder
from pinxit.training.loop import Task, Weights
from pinxit.training.plan import Plan
from pinxit.training.precision import pick_device
from pinxit.training.runs import FILE, config_of, enter

SIDES = {"texts": READ_BESIDE, "vectors": SEEN_BESIDE}  # stages that say something of a stream's shards
RECIPE, BASE = "unclip", "imagen"  # of whose checkpoints a run may start


@dataclass(frozen=True)
class UnclipRun(StartingRun[UnclipConfig]):
    """One run folder and how this process works on it."""

    MARKS: ClassVar[dict[str, str]] = StartingRun.MARKS | {"vectors": SEEN, SPACE: FITTED}

    @property
    def stages(self) -> tuple[str, ...]:
        """What is to be done, in order."""
        return ("pictures", "texts", "vectors", SPACE, *self.trained, "checkpoint")

    @property
    def trained(self) -> tuple[str, ...]:
        return (*(prior.name for prior in self.priors), DECODER, *(one.name for one in self.upsamplers))

    @property
    def priors(self) -> tuple[PriorStage, ...]:
        """The priors that this run makes: those with images to learn from, or brought by a checkpoint."""
        brought = () if self.init is None else tuple(self.init.parts)
        kept = (one for one in self.config.priors if one.plan.images or one.name in brought or self.started(one.name))
        return tuple(kept)

    @property
    def upsamplers(self) -> tuple[Stage, ...]:
        """The upsamplers that this run makes, in order: those with images to learn from, or brought by a checkpoint."""
        brought = () if self.init is None else tuple(self.init.parts)
        every = self.config.upsamplers
        return tuple(one for one in every if one.plan.images or one.name in brought or self.started(one.name))

    @property
    def banks(self) -> dict[str, Stage]:
        """The folders of pictures that networks learn from; those that CLIP is shown are `looked_at`."""
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
        used |= {"text.stored": seen, "clip": lambda: seen() and not self._seen_alike()}
        used |= dict.fromkeys((f"text.{name}" for name in ("encoder", "length", "spell")), self._read)
        used[SPACE] = partial(self.finished, SPACE)
        used |= {"text": partial(self.started, DECODER), "drop_image": partial(self.started, DECODER)}
        used |= {DECODER: partial(self.started, DECODER), "whole": partial(self.started, DECODER)}
        for name in {one.name for one in (*self.config.upsamplers, *self._before.upsamplers)}:
            used[f"upsamplers.{name}"] = partial(self.started, name)
        for name in {
            one.name for one in (*self.config.priors, *self._before.priors)
        }:  # nor can one that learnt be taken out
            used[f"priors.{name}"] = partial(self.started, name)
        enter(self.folder, RECIPE, self.config, used)
        self.note_start()

    @property
    def _before(self) -> UnclipConfig:
        """The config as it was last written down."""
        return config_of(self.folder, RECIPE, UnclipConfig) if (self.folder / FILE).is_file() else self.config

    def plan(self, stage: str) -> Plan:
        if stage == DECODER:
            return self.config.decoder.plan
        return (self.config.upsampler(stage) if self._enlarges(stage) else self.config.prior(stage)).plan

    def _enlarges(self, stage: str) -> bool:
        return any(one.name == stage for one in self.config.upsamplers)

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "pictures":
            return all(stored(self.path(name)) for name in (*self.banks, self.looked_at))
        if stage in SIDES and self.config.data.stream:
            wanted = stage != "texts" or self.config.text.stored
            return not wanted or all_encoded(self, stage, SIDES[stage])
        if stage == "texts":
            return not self.config.text.stored or (self.path("texts") / READ).is_file()
        return super().finished(stage)

    def brought(self, task: Task) -> Weights | None:
        """The weights that the checkpoint has for the modules of `task`: of an Imagen, its base's for the decoder."""
        if self.init is None or self.init.recipe == RECIPE:
            return super().brought(task)
        if task.name == DECODER:
            return {DECODER: self.init.state(next(iter(self.init.parts)))}
        return super().brought(task) if self._enlarges(task.name) else {}

    @property
    def looked_at(self) -> str:
        """The folder of the pictures that CLIP is shown: at its own size, where the decoder's is another.

        A stream's are read once, as shards are encoded.
        """
        return "pictures" if self.config.data.stream or self.clip.size == self.config.decoder.size else "seen"

    def task(self, name: str) -> Task:
        """What a stage trains."""
        if self._enlarges(name):
            return self.upsampler_task(name)
        return self.decoder_task() if name == DECODER else self.prior_task(name)

    def prior_task(self, name: str) -> PriorTask:
        """What a prior's stage trains, with its pairs."""
        return PriorTask(self.config.prior(name), self.config.seed, self.pairs)

    def decoder_task(self) -> DiffusionTask:
        """What the decoder's stage trains, with its pictures."""
        config, bank, reader = self.config, self.pictures(), self.reader
        self._check_width("decoder.unet.text", config.decoder.unet.text)
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
        """What an upsampler's stage trains; one of no images keeps what a checkpoint brought, and needs no pictures."""
        config, reader = self.config.upsampler(name), self.reader
        self._check_width(f"upsamplers.{name}.unet.text", config.unet.text)
        bank = self.pictures(f"{name}-pictures") if config.plan.images else None
        drop, script, whole = self.config.text.drop, self.config.data.script, self.config.whole
        shape = (reader.length, reader.width)
        return DiffusionTask(name, config, self.config.seed, shape, bank, reader, drop, script=script, whole=whole)

    @cached_property
    def pairs(self) -> Pairs:
        """Pictures and captions as vectors. Raises DataError for vectors of another CLIP or other pictures."""
        vectors = self.vectors
        stored = self._stored(self.pictures()) if self.config.text.stored else None
        if isinstance(vectors, Vectors) and isinstance(stored, Embeddings):
            vectors.require_captions(stored)
        for prior in self.config.priors:
            self._check_width(f"priors.{prior.name}.network.text", prior.network.text)
        return Pairs(vectors, self.space, self.reader, stored)

    @property
    def vectors(self) -> Vectors | StreamVectors:
        """What CLIP says of pictures and captions. Raises DataError for that of another CLIP or other pictures."""
        if self.config.data.stream:
            return StreamVectors.open(self.stream, sidecar_folder(self, "vectors"), self.clip, self.config.data.script)
        vectors = Vectors.open(self.path("vectors"))
        vectors.require(self.clip, Bank.open(self.path(self.looked_at)))
        return vectors

    @property
    def stream(self) -> Stream:
        """The decoder's pictures, of a run that reads shards as it goes."""
        return Stream.open(self.path("pictures"))

    @property
    def space(self) -> Space:
        """The fitted space. Raises DataError for one of another CLIP."""
        return read_space(self.path(SPACE), self.clip.fingerprint)

    @cached_property
    def clip(self) -> ClipEncoder:
        """Whose embeddings the priors tell. Raises UsageError for one of another width than the space's."""
        clip = ClipEncoder.open(self.config.clip, self.device)
        if clip.width != self.config.space.embed:
            problem = f"clip {self.config.clip} gives embeddings of width {clip.width}"
            places = ("space.embed", *(f"priors.{one.name}.network.embed" for one in self.config.priors))
            raise UsageError(f"{problem}, and space.embed={self.config.space.embed}: set {', '.join(places)}.")
        return clip

    @cached_property
    def reader(self) -> TextEncoder:
        """The frozen reader, on the device of the run."""
        return training_reader(self.config.text, pick_device(self.device))

    def _seen_alike(self) -> bool:
        """Whether the pictures have been looked at by this very CLIP, which may have been called otherwise then."""
        try:
            return self._before.clip == self.config.clip or len(self.vectors) > 0
        except DataError:
            return False

    def _stored(self, bank: Bank | Stream) -> Embeddings | StreamTexts:
        if isinstance(bank, Stream):
            return StreamTexts.open(bank, sidecar_folder(self, "texts"), self.reader, self.config.data.script)
        embeddings = Embeddings.open(self.path("texts"))
        embeddings.require(self.reader, bank)
        return embeddings

    def _check_width(self, place: str, expected: int) -> None:
        if expected not in (0, self.reader.width):
            width = self.reader.width
            problem = f"text encoder {self.reader.name} gives vectors of width {width}, and {place}={expected}"
            raise UsageError(f"{problem}; set {place}={width}.")

    def _read(self) -> bool:
        """Whether captions have been read beforehand, or a network has begun to learn from a reader."""
        return (self.path("texts") / READ).is_file() or any(map(self.started, self.trained))

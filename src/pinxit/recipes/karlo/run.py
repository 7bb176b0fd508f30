"""A run that fine-tunes Karlo: its stages, where each leaves its results, and what the next one takes from there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from pinxit.config import override
from pinxit.data.bank import Bank
from pinxit.data.embeddings import Embeddings
from pinxit.data.embeddings_builder import MANIFEST as READ
from pinxit.data.stream_texts import KIND as READ_BESIDE
from pinxit.data.stream_texts import StreamTexts
from pinxit.data.stream_vectors import KIND as SEEN_BESIDE
from pinxit.data.stream_vectors import StreamVectors
from pinxit.data.streams import Stream, has_pictures
from pinxit.data.vectors import MANIFEST as SEEN
from pinxit.data.vectors import Vectors
from pinxit.errors import CheckpointError
from pinxit.recipes import estimate
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.karlo.config import KarloConfig, KarloPlans
from pinxit.recipes.karlo.embedder import KarloEmbedder, UnnormalisedClip
from pinxit.recipes.karlo.open import embedder_of
from pinxit.recipes.karlo.published import RECIPE, open_karlo
from pinxit.recipes.karlo.task import DecoderTask, KarloPairs, SuperTask
from pinxit.recipes.published import Start
from pinxit.recipes.run_sidecars import all_encoded, sidecar_folder
from pinxit.recipes.staging import check_names
from pinxit.recipes.unclip.config import PriorParts, PriorStage
from pinxit.recipes.unclip.space import Space
from pinxit.recipes.unclip.task import PriorTask
from pinxit.recipes.warm_start import StartingRun
from pinxit.training.precision import pick_device
from pinxit.training.runs import FILE, config_of, enter
from pinxit.weights.karlo import DECODER, PRIOR, SUPERS, load_prior
from pinxit.weights.manifest import CARD

SIDES = {"texts": READ_BESIDE, "vectors": SEEN_BESIDE}  # with a stream: stages that write sidecars, and their kind


@dataclass(frozen=True)
class KarloRun(StartingRun[KarloConfig]):
    """A run folder and how this process works on it; `init`: the published networks, of `config.base`."""

    MARKS: ClassVar[dict[str, str]] = StartingRun.MARKS | {"texts": READ, "vectors": SEEN, "checkpoint": CARD}

    @property
    def trained(self) -> tuple[str, ...]:
        return self.config.learning

    @property
    def conditioned(self) -> bool:
        """Whether a network is trained that is conditioned on CLIP's embeddings: prior or decoder."""
        return PRIOR in self.trained or DECODER in self.trained

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of its stages, in order."""
        return ("pictures", *(("texts", "vectors") if self.conditioned else ()), *self.trained, "checkpoint")

    def enter(self) -> None:
        """Write the config into the run folder. Raises UsageError if it differs from what a stage has already used.

        The published folder may be elsewhere by now: `check_start` compares its networks, not its place.
        """
        self.check_start()
        banks = [self.path(name) for name in ("pictures", f"{SUPERS[0]}-pictures")]
        used: dict[str, Callable[[], bool]] = dict.fromkeys(
            ("data", "pictures", "seed"), lambda: any(bank.exists() for bank in banks)
        )
        for name in KarloPlans.__slots__:  # a network that has been trained cannot be removed either
            used[f"plans.{name}"] = partial(self.started, name)
        used |= dict.fromkeys(("drop", "drop_image"), lambda: any(map(self.started, self.trained)))
        enter(self.folder, RECIPE, self.config, used)
        self.note_start()

    @property
    def banks(self) -> dict[str, int]:
        """The folders of stored pictures, and the side of their pictures in pixels.

        "pictures" are for the decoder, "seen" for CLIP (not with a stream, whose sidecars are computed straight from
        its shards), and the third one is for the super-resolution networks.
        """
        large = next((name for name in SUPERS if name in self.trained), None)
        found = {"pictures": self.stage_config(DECODER).size} if self.conditioned or large is None else {}
        if self.conditioned and not self.config.data.stream:
            found |= {"seen": self.embedder.sight().size}
        return found | ({f"{SUPERS[0]}-pictures": self.stage_config(large).size} if large is not None else {})

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "pictures":
            return all(has_pictures(self.path(name)) for name in self.banks)
        if stage in SIDES and self.config.data.stream:
            return all_encoded(self, stage, SIDES[stage])
        return super().finished(stage)

    def stage_config(self, name: str) -> StageConfig:
        """The config of a U-Net of the published folder."""
        assert self.init is not None
        return self.init.config(name, StageConfig)

    @cached_property
    def embedder(self) -> KarloEmbedder:
        """Computes the conditions of prior and decoder."""
        return embedder_of(Path(self.config.base), pick_device(self.device), "fp32")

    @cached_property
    def pairs(self) -> KarloPairs:
        """The precomputed embeddings of pictures and captions, in the decoder's coordinates."""
        embedder, script = self.embedder, self.config.data.script
        reader, sight, space = embedder.reader, UnnormalisedClip(embedder), embedder.space.to("cpu")
        if isinstance(stream := self.pictures(), Stream):
            seen = StreamVectors.open(stream, sidecar_folder(self, "vectors"), sight, script)
            return KarloPairs(seen, StreamTexts.open(stream, sidecar_folder(self, "texts"), reader, script), space)
        vectors, texts = Vectors.open(self.path("vectors")), Embeddings.open(self.path("texts"))
        bank = Bank.open(self.path("seen"))
        vectors.require(sight, bank)
        texts.require(reader, bank)
        vectors.require_captions(texts)
        return KarloPairs(vectors, texts, space)

    def task(self, name: str) -> Any:
        """The task of a training stage."""
        seed, config = self.config.seed, self.config
        if name in SUPERS:
            return SuperTask(name, self.stage_config(name), seed, self.pictures(f"{SUPERS[0]}-pictures"))
        if name == DECODER:
            reader = self.embedder.reader
            shape, bank = (reader.length, reader.width), self.pictures()
            about = self.stage_config(name)
            return DecoderTask(about, seed, shape, bank, self.embedder, self.pairs, config.drop, config.drop_image)
        published = load_prior(Path(config.base))
        space = Space.standard(published.mean, published.spread)
        return PriorTask(self.prior, seed, KarloPairs(self.pairs.vectors, self.pairs.texts, space))

    @property
    def prior(self) -> PriorStage:
        """The config of the prior's stage."""
        assert self.init is not None
        parts = self.init.config(PRIOR, PriorParts)
        plan, drop = self.config.plans.prior, self.config.drop
        return PriorStage(name=PRIOR, plan=plan, network=parts.network, diffusion=parts.diffusion, drop=drop)


def table(run: KarloRun, asked: Sequence[str] | None = None) -> str:
    """The estimated costs of the stages `asked` (None: all) as a table. Raises UsageError for an unknown stage."""
    check_names(run.stages, run.stages if asked is None else asked)
    chosen = [name for name in run.trained if asked is None or name in asked]
    return estimate.table([sketch(run, name) for name in chosen], {}, run.device, run.folder)


def sketch(run: KarloRun, name: str) -> estimate.Stage:
    seed, plan = run.config.seed, run.plan(name)
    if name == PRIOR:
        return estimate.Stage(name, plan, partial(PriorTask, run.prior, seed))
    about = run.stage_config(name)
    if name in SUPERS:
        return estimate.Stage(name, plan, partial(SuperTask, name, about, seed))
    return estimate.Stage(name, plan, partial(DecoderTask, about, seed, (run.embedder.reader.length, about.unet.text)))


def run_of(
    out: Path, init: Start | None, lora: int | None, changes: Sequence[str], device: str, progress: bool
) -> KarloRun:
    """The run in `out`, or a new one that starts from `init`.

    `lora`: rank for all networks; `changes`: overrides of its config, as `config.override` takes them. Raises
    CheckpointError where the folder of published networks is not where the run began, and `init` does not say where,
    or is no Karlo.
    """
    if init is not None and init.recipe != RECIPE:
        raise CheckpointError(f"{out} fine-tunes a Karlo, and {init.folder} holds a checkpoint of {init.recipe}.")
    if (out / FILE).is_file():
        config = config_of(out, RECIPE, KarloConfig)
    else:
        assert init is not None
        config = KarloConfig(str(init.folder.resolve()))
        if PRIOR not in init.parts:
            config = override(config, ["plans.prior.images=0"])
    ranks = [f"plans.{name}.lora={lora}" for name in KarloPlans.__slots__ if lora is not None]
    config = override(config, [*ranks, *changes])
    if init is not None:
        return KarloRun(out, replace(config, base=str(init.folder.resolve())), device, progress, init)
    if not (base := Path(config.base)).is_dir():
        raise CheckpointError(f"{out} fine-tunes {base}, which is not there any more: say by --init-from where it is.")
    return KarloRun(out, config, device, progress, open_karlo(base))

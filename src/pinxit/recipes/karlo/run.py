"""A run that trains Karlo further: where each stage leaves its results, and what is done in which order."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from pinxit.config import override
from pinxit.data.bank import Bank
from pinxit.data.bank_layout import CAPTIONS, MANIFEST
from pinxit.data.embeddings import Embeddings, build_embeddings
from pinxit.data.embeddings_builder import MANIFEST as READ
from pinxit.data.vectors import MANIFEST as SEEN
from pinxit.data.vectors import Vectors, build_vectors
from pinxit.errors import DataError
from pinxit.files import replacing_folder, write_text
from pinxit.recipes import estimate
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.stages import store_pictures
from pinxit.recipes.karlo.config import KarloConfig, KarloPlans
from pinxit.recipes.karlo.embedder import KarloEmbedder
from pinxit.recipes.karlo.open import embedder_of
from pinxit.recipes.karlo.published import RECIPE, open_karlo
from pinxit.recipes.karlo.task import DecoderTask, KarloPairs, Projected, SuperTask
from pinxit.recipes.published import Start
from pinxit.recipes.staging import Ended, check_names, fit_stage, in_order, showing
from pinxit.recipes.unclip.config import PriorParts, PriorStage
from pinxit.recipes.unclip.space import Space
from pinxit.recipes.unclip.task import PriorTask
from pinxit.recipes.warm_start import StartingRun, check_fits
from pinxit.training import state as states
from pinxit.training.precision import pick_device
from pinxit.training.runs import FILE, config_of, enter
from pinxit.training.stop import Stop
from pinxit.weights.checkpoint import CARD
from pinxit.weights.karlo import DECODER, PRIOR, SUPERS, load_prior
from pinxit.weights.karlo_export import save_karlo


@dataclass(frozen=True)
class KarloRun(StartingRun[KarloConfig]):
    """One run folder and how this process works on it; `init`: the networks of `config.base`."""

    MARKS: ClassVar[dict[str, str]] = StartingRun.MARKS | {"texts": READ, "vectors": SEEN, "checkpoint": CARD}

    @property
    def trained(self) -> tuple[str, ...]:
        return self.config.learning

    @property
    def conditioned(self) -> bool:
        """Whether a network learns that is told of captions and pictures."""
        return PRIOR in self.trained or DECODER in self.trained

    @property
    def stages(self) -> tuple[str, ...]:
        """What is to be done, in order."""
        return ("pictures", *(("texts", "vectors") if self.conditioned else ()), *self.trained, "checkpoint")

    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used."""
        self.check_start()
        used = dict.fromkeys(("base", "data", "pictures", "seed"), lambda: any(map(self.finished, self.stages)))
        for name in self.trained:
            used |= {f"plans.{name}": partial(self.started, name)}
        used |= dict.fromkeys(("drop", "drop_image"), lambda: any(map(self.started, self.trained)))
        enter(self.folder, RECIPE, self.config, used)
        self.note_start()

    @property
    def banks(self) -> dict[str, int]:
        """The folders of pictures that its networks learn from or its CLIP is shown, and their size."""
        large = next((name for name in SUPERS if name in self.trained), None)
        found = {"pictures": self.stage_config(DECODER).size} if self.conditioned or large is None else {}
        if self.conditioned:
            found |= {"seen": self.embedder.sight().size}
        return found | ({f"{SUPERS[0]}-pictures": self.stage_config(large).size} if large is not None else {})

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "pictures":
            return all((self.path(name) / MANIFEST).is_file() for name in self.banks)
        return super().finished(stage)

    def stage_config(self, name: str) -> StageConfig:
        """How a U-Net of the published folder was trained."""
        assert self.init is not None
        return self.init.config(name, StageConfig)

    @cached_property
    def embedder(self) -> KarloEmbedder:
        """What prior and decoder are told by."""
        return embedder_of(Path(self.config.base), pick_device(self.device), "fp32")

    @cached_property
    def pairs(self) -> KarloPairs:
        """Pictures and captions as its networks are told them, in the coordinates of the decoder."""
        vectors, texts = Vectors.open(self.path("vectors")), Embeddings.open(self.path("texts"))
        bank = Bank.open(self.path("seen"))
        vectors.require(Projected(self.embedder), bank)
        texts.require(self.embedder.reader, bank)
        vectors.require_captions(texts)
        return KarloPairs(vectors, texts, self.embedder.space.to("cpu"))

    def task(self, name: str) -> Any:
        """What a stage trains."""
        seed, config = self.config.seed, self.config
        if name in SUPERS:
            return SuperTask(name, self.stage_config(name), seed, Bank.open(self.path(f"{SUPERS[0]}-pictures")))
        if name == DECODER:
            reader = self.embedder.reader
            shape, bank = (reader.length, reader.width), Bank.open(self.path("pictures"))
            about = self.stage_config(name)
            return DecoderTask(about, seed, shape, bank, self.embedder, self.pairs, config.drop, config.drop_image)
        published = load_prior(Path(config.base))
        space = Space.standard(published.mean, published.spread)
        return PriorTask(self.prior, seed, KarloPairs(self.pairs.vectors, self.pairs.texts, space))

    @property
    def prior(self) -> PriorStage:
        """The prior as it is trained."""
        assert self.init is not None
        parts = self.init.config(PRIOR, PriorParts)
        plan, drop = self.config.plans.prior, self.config.drop
        return PriorStage(name=PRIOR, plan=plan, network=parts.network, diffusion=parts.diffusion, drop=drop)


def train(run: KarloRun, stages: Sequence[str] | None = None, stop: Stop | None = None) -> Ended:
    """Run `stages` (None: all of the run's) in their order as far as time allows.

    Raises UsageError for an unknown one, a changed config, or where a folder without image_encoder is to see pictures.
    """

    def step(name: str, stop: Stop) -> None:
        if name == "pictures":
            _pictures(run, stop)
        elif name in ("texts", "vectors"):
            run.need(name, "pictures")
            _read(run, name, stop)
        elif name in run.trained:
            run.need(name, *run.stages[: run.stages.index(run.trained[0])])
            task = run.task(name)
            fit_stage(run, task, stop, run.brought(task))
        else:
            run.need(name, *run.trained)
            _checkpoint(run)

    every = run.stages
    asked = every if stages is None else stages
    check_fits(run, [_sketch(run, name) for name in run.trained if name in asked])
    return in_order(run, every, asked, step, run.finished, stop)


def _pictures(run: KarloRun, stop: Stop) -> None:
    for name, size in run.banks.items():
        store_pictures(run, name, size, run.config.pictures, stop)
    one, other = (run.path(name) / CAPTIONS for name in ("pictures", "seen"))
    if run.conditioned and not filecmp.cmp(one, other, shallow=False):
        raise DataError(f"{one} and {other} differ: some pictures are too small for one of both sizes; leave them out.")


def _read(run: KarloRun, name: str, stop: Stop) -> None:
    """Read all captions, or look at all pictures and captions, once."""
    bank, seed, script = Bank.open(run.path("seen")), run.config.seed, run.config.data.script
    with showing(run, name, stop) as progress:
        if name == "texts":
            reader = run.embedder.reader
            build_embeddings(bank, reader, run.path(name), seed=seed, progress=progress, script=script)
        else:
            build_vectors(bank, Projected(run.embedder), run.path(name), seed=seed, progress=progress, script=script)


def _checkpoint(run: KarloRun) -> None:
    """Write RUN/checkpoint: the published folder with the averaged weights of what was trained."""
    with replacing_folder(run.path("checkpoint")) as folder:
        save_karlo(Path(run.config.base), trained_states(run), folder)
        write_text(folder / CARD, _card(run))


def trained_states(run: KarloRun) -> dict[str, Any]:
    """Of each network that was trained its averaged weights, and of a U-Net its config, as `save_karlo` takes them."""
    return {
        name: (
            states.read_weights(run.path(name), name),
            None if name == PRIOR else run.stage_config(name).unet,
        )
        for name in run.trained
    }


def table(run: KarloRun, asked: Sequence[str] | None = None) -> str:
    """What the stages `asked` cost, as plain text."""
    check_names(run.stages, run.stages if asked is None else asked)
    chosen = [name for name in run.trained if asked is None or name in asked]
    return estimate.table([_sketch(run, name) for name in chosen], {}, run.device, run.folder)


def _sketch(run: KarloRun, name: str) -> estimate.Stage:
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
    """The run in `out`, or a new one that starts from `init`; `changes` as `config.override` takes them."""
    if (out / FILE).is_file():
        config = config_of(out, RECIPE, KarloConfig)
        init = init or open_karlo(Path(config.base))
    else:
        assert init is not None
        config = KarloConfig(str(init.folder.resolve()))
        if PRIOR not in init.parts:
            config = override(config, ["plans.prior.images=0"])
    ranks = [f"plans.{name}.lora={lora}" for name in KarloPlans.__slots__ if lora is not None]
    return KarloRun(out, override(config, [*ranks, *changes]), device, progress, init)


def _card(run: KarloRun) -> str:
    seen = [f"{name}: {states.read_progress(run.path(name)).images:,} pictures seen" for name in run.trained]
    how = [f"by additions of rank {run.plan(name).lora}" if run.plan(name).lora else "whole" for name in run.trained]
    lines = "\n".join(f"- {one}, trained {way}" for one, way in zip(seen, how, strict=True))
    return f"""# A Karlo for {run.config.data.source}

The networks of {Path(run.config.base).name}, of which were trained further by `pinxit train unclip`:

{lines}

What else lies here is as it was published, under its licence.

    pinxit paint "a sentence" --checkpoint FOLDER
"""

"""The judge: presets, detection, training and checkpoints.

It is a detector, so of another kind than the models that paint or rank, and is trained on renders of the world (`small`
and `full`: of the `train` split; `gallery`: see `hard_scenes`). It reports what is in a picture: names, boxes, colours,
forms, styles, the ground. `evaluation` compares that with the caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pinxit.data.sheet import sheet
from pinxit.errors import UsageError
from pinxit.files import write_json
from pinxit.functional.boxes import Detection, Detections
from pinxit.models.detector import Detector, DetectorConfig
from pinxit.models.torch_defaults import torch_defaults, torch_defaults_for_loading, torch_defaults_for_training
from pinxit.pipelines.rank import to_tensor
from pinxit.recipes.judge.detect import attributes_of, detect
from pinxit.recipes.judge.hard_scenes import SEED, HardScenes, Signs
from pinxit.recipes.judge.training import JudgeTask
from pinxit.recipes.staging import run_entered
from pinxit.recipes.warm_start import START, check_start, note_start, read_start
from pinxit.schema import Count, Seed, checked, plain_number
from pinxit.training import runs, state
from pinxit.training.initial import in_shards
from pinxit.training.loop import Outcome, Plan, Stop, check_weights, fit, missing_weights
from pinxit.training.lora import check_adapts, check_rank
from pinxit.training.parallel import join_ranks
from pinxit.training.precision import pick_device
from pinxit.types import check_pixels
from pinxit.weights.checkpoint import Checkpoint, Part, Store, open_checkpoint, save_checkpoint
from pinxit.weights.zoo import find
from pinxit.world.roles import GARMENTS, MATERIALS, cast, shapely
from pinxit.world.sign_words import LETTERS
from pinxit.world.vocabulary import COLOURS, FORMS, LIGHTS, VIEWS, lexicon
from pinxit.world.world import World

if TYPE_CHECKING:
    from pinxit.types import Picture

RECIPE = "judge"
VOCABULARIES = (  # fields of the detector, each of whose words has a row in its weights
    *("names", "colours", "forms", "styles", "places"),
    *("materials", "garments", "links", "views", "lights", "letters"),
)


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Everything that a training run depends on."""

    detector: DetectorConfig
    plan: Plan
    world: str = "small"
    seed: Seed = 0  # of the initial weights and the order of the renders
    store: Store = "bf16"  # of the checkpoint's weights: bf16, or int8 in half the space


def config_for(world: str, images: int = 300_000) -> JudgeConfig:
    """The judge's config for a preset of the world. Raises UsageError for an unknown one."""
    words = lexicon(world)
    sizes: dict[str, Any] = {} if world == "small" else {"widths": (96, 192, 256), "blocks": (2, 4, 2), "neck": 160}
    if world == "gallery":
        sizes = GALLERY | {"materials": cast(MATERIALS, words), "forms": (*FORMS, *shapely(words))}
    fields = {"colours": COLOURS, "forms": FORMS, "styles": words.styles, "places": (*COLOURS, *words.places)}
    detector = DetectorConfig(tuple(words.nouns), **(fields | sizes))
    plan = Plan(
        images=images,
        batch=64,
        lr=2e-3,
        warmup=6400,
        decay=0.02,
        clip=10.0,
        ema=0.998,
        channels_last=True,
        optimiser="muon" if world == "gallery" else "adamw",
    )
    return JudgeConfig(detector, plan, world)


EVERYTHING = frozenset({"gallery"})  # worlds whose judge also trains on held-out combinations (`hard_scenes`)
LINKS = ("behind", "riding", "walking", "drinking", "making")
GALLERY: dict[str, Any] = {
    "widths": (80, 160, 224),
    "blocks": (1, 3, 2),
    "neck": 128,
    "garments": tuple(GARMENTS),
    "links": LINKS,
    "views": VIEWS,
    "lights": LIGHTS,
    "letters": LETTERS,
}
"""The size of the gallery's judge, and the attributes that only it reports."""


@dataclass(frozen=True)
class Judge:
    """A trained detector, ready to use."""

    detector: Detector
    world: str  # the preset of the world that it was trained on
    hash: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    @torch_defaults_for_loading()
    def open(cls, name_or_folder: str | Path, device: str = "auto") -> Judge:
        """A shipped judge by its name, or one from a checkpoint folder. Raises CheckpointError when there is none."""
        checkpoint = open_checkpoint(find(name_or_folder), RECIPE)
        detector = Detector(checkpoint.config("detector", DetectorConfig))
        checkpoint.load_into("detector", detector)
        on = pick_device(device)
        return cls(detector.to(on).eval(), checkpoint.settings["world"], checkpoint.hash, on)

    @property
    def attributes(self) -> frozenset[str]:
        """What it reports besides names, boxes, colours, flat forms, styles and grounds (`Detections.attributes`)."""
        return attributes_of(self.detector.config)

    @torch_defaults()
    def detect(self, pictures: Sequence[Picture], batch: int = 64) -> list[Detections]:
        """The detections in each picture (uint8 [H, W, 3], resized to the judge's size if needed), `batch` at a time.

        Raises UsageError for what is no picture, and for a batch below 1.
        """
        batch = checked(Count, plain_number(batch), "batch")
        pictures = list(pictures)
        check_pixels(*pictures)
        seen: list[Detections] = []
        for start in range(0, len(pictures), batch):
            fitting = [_fitted(picture, self.detector.config.size) for picture in pictures[start : start + batch]]
            seen += detect(self.detector, to_tensor(fitting).to(self.device))
        return seen


def _fitted(picture: Picture, size: int) -> Picture:
    if picture.shape[:2] == (size, size):
        return picture
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def build(config: JudgeConfig) -> JudgeTask:
    """The training task of a config; scenes are rendered when they are needed, and none is used twice."""
    world = World(preset=_preset(config.world), split="train", size=config.detector.size)
    pictures = [world[i].picture for i in range(12)]
    signs = Signs(world.preset, world.size, SEED + config.seed) if config.detector.letters else None
    everything = config.world in EVERYTHING
    data = HardScenes(world.preset, world.size) if everything else world
    draw = partial(portrait, pictures=pictures)
    return JudgeTask(data, config.detector, config.seed, draw, signs, all_shown=everything)


def _preset(world: str) -> Any:
    lexicon(world)  # raises UsageError for an unknown preset
    return world


def portrait(detector: Detector, pictures: Sequence[Picture]) -> Picture:
    """A sheet of pictures, each captioned with what the detector finds in it."""
    device = next(detector.parameters()).device
    detected = detect(detector, to_tensor(pictures).to(device))
    return sheet(pictures, [describe(detections) for detections in detected])


def describe(detections: Detections, least: float = 0.3) -> str:
    """A picture's detections in words, best first: "red cube 0.97, panda in a blue hat 0.90; snow"."""
    lines = [f"{_described(d)} {d.score:.2f}" for d in detections.found if d.score >= least]
    return "; ".join(
        part for part in (", ".join(lines) or "nothing", detections.place, detections.view, detections.light) if part
    )


def _described(one: Detection) -> str:
    """ "blue sign that says TEA", "owl in a red hat", "snail of harp"."""
    further = [f"of {one.material}"] if one.material else []
    further += [f"in a {colour} {garment}" for colour, garment in one.outfit]
    further += [f"that says {one.words}"] if one.words else []
    return " ".join(part for part in (one.colour, one.name, *further) if part)


@torch_defaults_for_training()
def train(
    config: JudgeConfig, out: Path, device: str = "auto", progress: bool = True, init: Checkpoint | None = None
) -> tuple[Outcome, Path]:
    """Train in the run folder `out`, or resume there; a finished run has its checkpoint in `out/judge`.

    `init`: the judge whose weights a new run starts from. Returns how training ended and where the checkpoint is, or
    will be. Raises PinxitError where `out` belongs to another run, was started from another judge, or another process
    is training in it, and for a LoRA of random weights.
    """
    stage, folder, ranks = out / "detector", out / RECIPE, join_ranks(pick_device(device))
    weights = None if init is None else {"detector": init.state("detector")}
    with run_entered(out, partial(_enter, config, out, init), ranks):
        with in_shards(ranks, config.plan.shard):
            task = build(config)
        outcome = fit(task, config.plan, stage, device, progress, stop=Stop(), init=weights)
        if outcome.finished and ranks.lead:
            keep(config, stage, folder)
    return outcome, folder


def _enter(config: JudgeConfig, out: Path, init: Checkpoint | None) -> None:
    begun, noted = state.exists(out / "detector"), (out / START).is_file()
    check_start(out, init, begun and noted, begun)  # older runs did not note their start: what the user says is taken
    if not begun:
        _check_fits(config, init)
    runs.enter(out, RECIPE, config, dict.fromkeys(("detector", "world", "seed"), lambda: begun))
    note_start(out, init)
    if not (begun or noted) and init is None:
        write_json(out / START, {"checkpoint": None})


def _check_fits(config: JudgeConfig, init: Checkpoint | None) -> None:
    """Raise UsageError or CheckpointError for what a new run could not begin with, before it writes anything."""
    with torch.device("meta"):
        detector = Detector(config.detector)
    check_adapts("detector", config.plan.lora, ("detector",), None if init is None else init.parts)
    if init is None:
        return
    before, values = init.config("detector", DetectorConfig), init.state("detector")
    for name in VOCABULARIES:
        known, asked = getattr(before, name), getattr(config.detector, name)
        if known and asked and known != asked:
            raise UsageError(f"{init.folder} was trained for other {name} than this run's: leave --init-from out.")
    check_weights(detector, "detector", values)
    if config.plan.lora:
        check_rank({"detector": detector}, config.plan.lora, missing_weights(detector, "detector", values))


def keep(config: JudgeConfig, stage: Path, folder: Path) -> None:
    """Write the averaged weights of a finished run as a checkpoint; its images include those of the judge before it."""
    start = read_start(stage.parent)
    images = state.read_progress(stage).images + start.get("images", 0)
    provenance = {
        "trained_on": f"world:{config.world}, {_splits(config)}",
        "images": images,
        "seed": config.seed,
        "started_from": start.get("checkpoint"),
    }
    parts = {"detector": Part(config.detector, state.read_weights(stage, "detector"))}
    about: dict[str, Any] = {"provenance": provenance, "settings": {"world": config.world}, "store": config.store}
    save_checkpoint(folder, RECIPE, parts, card=card(config, images), **about)


def card(config: JudgeConfig, images: int) -> str:
    """The model card."""
    besides = ", ".join(sorted(attributes_of(config.detector)))
    further = f" It also reports {besides}." if besides else ""
    return f"""# A judge for world:{config.world}

An anchor-free detector that finds {len(config.detector.names)} kinds of things in pictures of {config.detector.size}
pixels, with their boxes, colours, forms and styles, and the ground they stand on.{further} Trained on {images:,}
renders of the built-in world ({_splits(config)}), most of them corrupted (blurred, noisy, warped, compressed, put
together from patches that do not quite fit). It judges whether a picture matches its caption; its own accuracy on true
and on wrong renders is printed beside every score by `pinxit eval world`. It knows nothing of photographs or of things
outside this world.

Train it again: `pinxit train judge --data world:{config.world} --out RUN`
"""


def _splits(config: JudgeConfig) -> str:
    if config.world in EVERYTHING:
        return "scenes of train and of unseen, other ones than an exam's"
    return "split train"


def parse_world(data: str) -> str:
    """The preset in "world:small". Raises UsageError for other data, whose contents are not known."""
    kind, _, preset = data.partition(":")
    if kind != "world" or not preset:
        raise UsageError(
            f"a judge learns from pictures with known facts: --data world:small, :gallery or :full, not {data}."
        )
    return preset

"""The judge: presets, looking at pictures, training, and the checkpoint that keeps it.

It is trained on renders of the world's `train` split, by another kind of model than any that paints or ranks, and says
what is in a picture: names, boxes, colours, forms, styles, the ground. `evaluation` decides what that is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.data.sheet import sheet
from pinxit.data.world.vocabulary import COLOURS, FORMS, lexicon
from pinxit.data.world.world import World
from pinxit.errors import UsageError
from pinxit.functional.boxes import Detection, Sight, suppress
from pinxit.functional.detection import peaks
from pinxit.models.detector import Described, Detector, DetectorConfig
from pinxit.pipelines.rank import to_tensor
from pinxit.recipes.judge_training import JudgeTask
from pinxit.schema import Seed
from pinxit.training import runs, state
from pinxit.training.loop import Outcome, Plan, Stop, fit
from pinxit.training.precision import pick_device
from pinxit.weights.checkpoint import Checkpoint, Part, open_checkpoint, save_checkpoint
from pinxit.weights.zoo import find

if TYPE_CHECKING:
    from pinxit.types import Picture

FAINT = 0.05  # weaker detections are not reported
MOST_FOUND = 24  # detections in one picture
SAME = 0.6  # two detections of one name that overlap more are one thing
RECIPE = "judge"


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """All that a training run is made of."""

    detector: DetectorConfig
    plan: Plan
    world: str = "small"
    seed: Seed = 0  # of the first weights and the order of the renders


def config_for(world: str, images: int = 300_000) -> JudgeConfig:
    """The judge of a world's preset. Raises UsageError for an unknown one."""
    words = lexicon(world)
    styles, places = words.styles, (*COLOURS, *words.places)
    sizes: dict[str, Any] = {} if world == "small" else {"widths": (96, 192, 256), "blocks": (2, 4, 2), "neck": 160}
    detector = DetectorConfig(tuple(words.nouns), COLOURS, FORMS, styles, places, **sizes)
    plan = Plan(
        images=images,
        batch=64,
        lr=2e-3,
        warmup=6400,
        decay=0.02,
        clip=10.0,
        ema=0.998,
        channels_last=True,
    )
    return JudgeConfig(detector, plan, world)


@dataclass(frozen=True)
class Judge:
    """A trained detector, ready to look."""

    detector: Detector
    world: str  # the preset whose things it knows
    hash: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def open(cls, name_or_folder: str | Path, device: str = "auto") -> Judge:
        """A shipped or own judge. Raises CheckpointError in one sentence when there is none."""
        checkpoint = open_checkpoint(find(name_or_folder), RECIPE)
        detector = Detector(checkpoint.config("detector", DetectorConfig))
        checkpoint.load_into("detector", detector)
        on = pick_device(device)
        return cls(detector.to(on).eval(), checkpoint.settings["world"], checkpoint.hash, on)

    def look(self, pictures: Sequence[Picture], batch: int = 64) -> list[Sight]:
        """What is in each picture (uint8 [H, W, 3], resized where they are not of the judge's size)."""
        seen: list[Sight] = []
        for start in range(0, len(pictures), batch):
            fitting = [_fitted(picture, self.detector.config.size) for picture in pictures[start : start + batch]]
            seen += look(self.detector, to_tensor(fitting).to(self.device))
        return seen


@torch.no_grad()
def look(detector: Detector, pictures_B3HW: Tensor) -> list[Sight]:
    """What the detector makes out in pictures in [0, 1] of its own size."""
    found = detector(pictures_B3HW)
    score, name, cell = peaks(found.heat, MOST_FOUND)
    picture_M, place_M = (score >= FAINT).nonzero(as_tuple=True)
    name_M, cell_M = name[picture_M, place_M], cell[picture_M, place_M]
    told = detector.describe(found, picture_M, name_M, cell_M)
    detections = _detections(detector.config, score[picture_M, place_M], name_M, cell_M, told)
    here: list[list[Detection]] = [[] for _ in pictures_B3HW]
    for picture, one in zip(picture_M.tolist(), detections, strict=True):
        here[picture].append(one)
    words = detector.config.places
    grounds = [words[i] for i in found.place.argmax(1).tolist()] if words else [None] * len(here)
    return [Sight(tuple(suppress(ones, SAME)), ground) for ones, ground in zip(here, grounds, strict=True)]


def _detections(
    config: DetectorConfig, score_M: Tensor, name_M: Tensor, cell_M: Tensor, told: Described
) -> list[Detection]:
    corner = torch.stack([cell_M % config.grid, cell_M // config.grid], 1)
    middle = (corner + 0.5 + told.offset) / config.grid
    half = told.extent.exp() / 2
    boxes = torch.cat([middle - half, middle + half], 1).clamp(0, 1).tolist()
    colours, forms, styles = (_said(logits) for logits in (told.colour, told.form, told.style))
    found = []
    for i, (score, name) in enumerate(zip(score_M.tolist(), name_M.tolist(), strict=True)):
        colour = config.colours[colours[i]] if colours else None
        form = config.forms[forms[i]] if forms else None
        style = config.styles[styles[i] - 1] if styles[i] else None
        x0, y0, x1, y1 = boxes[i]
        found.append(Detection(config.names[name], (x0, y0, x1, y1), score, colour, form, style))
    return found


def _said(logits_MC: Tensor) -> list[int]:
    answers: list[int] = logits_MC.argmax(1).tolist() if logits_MC.shape[1] else []
    return answers


def _fitted(picture: Picture, size: int) -> Picture:
    if picture.shape[:2] == (size, size):
        return picture
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def build(config: JudgeConfig) -> JudgeTask:
    """The training task of a config; scenes are drawn when they are needed, and none is seen twice."""
    world = World(preset=_preset(config.world), split="train", size=config.detector.size)
    pictures = [world[i].picture for i in range(12)]
    return JudgeTask(world, config.detector, config.seed, lambda detector: portrait(detector, pictures))


def _preset(world: str) -> Any:
    lexicon(world)  # refuses what does not exist
    return world


def portrait(detector: Detector, pictures: Sequence[Picture]) -> Picture:
    """A sheet of pictures with what the detector finds in them written underneath."""
    device = next(detector.parameters()).device
    sights = look(detector, to_tensor(pictures).to(device))
    return sheet(pictures, [describe(sight) for sight in sights])


def describe(sight: Sight, least: float = 0.3) -> str:
    """A sight in words, best first: "red cube 0.97, green circle 0.90; snow"."""
    told = [f"{d.colour or ''} {d.name} {d.score:.2f}".strip() for d in sight.found if d.score >= least]
    return "; ".join(part for part in (", ".join(told) or "nothing", sight.place) if part)


def train(
    config: JudgeConfig, out: Path, device: str = "auto", progress: bool = True, init: Checkpoint | None = None
) -> tuple[Outcome, Path]:
    """Train, or go on training, in `out`; when finished the checkpoint is in `out/judge`.

    `init`: the judge whose weights a fresh run starts from. Returns how it ended and where the checkpoint is, or will
    be. Raises PinxitError for a folder of another run.
    """
    stage, folder = out / "detector", out / RECIPE
    runs.enter(out, RECIPE, config, dict.fromkeys(("detector", "world", "seed"), lambda: state.exists(stage)))
    weights = None if init is None else {"detector": {k: v.float() for k, v in init.state("detector").items()}}
    outcome = fit(build(config), config.plan, stage, device, progress, stop=Stop(), init=weights)
    if outcome.finished:
        keep(config, stage, folder, init)
    return outcome, folder


def keep(config: JudgeConfig, stage: Path, folder: Path, init: Checkpoint | None = None) -> None:
    """Write the averaged weights of a finished run as a checkpoint; images count those of the one it started from."""
    images = state.read_progress(stage).images + (init.provenance.get("images", 0) if init else 0)
    provenance = {
        "trained_on": f"world:{config.world}, split train",
        "images": images,
        "seed": config.seed,
        "started_from": init.hash if init else None,
    }
    parts = {"detector": Part(config.detector, state.read_weights(stage, "detector"))}
    save_checkpoint(
        folder, RECIPE, parts, provenance=provenance, settings={"world": config.world}, card=card(config, images)
    )


def card(config: JudgeConfig, images: int) -> str:
    """The model card."""
    return f"""# A judge for world:{config.world}

An anchor-free detector that finds {len(config.detector.names)} kinds of things in pictures of {config.detector.size}
pixels, with their boxes, colours, forms and styles, and the ground they stand on. Trained on {images:,} renders of the
built-in world's train split, most of them worn (blurred, noisy, warped, compressed, put together from patches that do
not quite fit). It judges whether a picture obeys its caption; its own accuracy on true and on wrong renders is printed
beside every score by `pinxit eval world`. It knows nothing of photographs or of things outside this world.

Train it again: `pinxit train judge --data world:{config.world} --out RUN`
"""


def parse_world(data: str) -> str:
    """The preset in "world:small". Raises UsageError for other data, because nobody knows what they show."""
    kind, _, preset = data.partition(":")
    if kind != "world" or not preset:
        raise UsageError(
            f"a judge learns from pictures with known facts: --data world:small or world:full, not {data}."
        )
    return preset

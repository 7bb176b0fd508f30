"""Every command that writes a folder, small: what `tests.killed` disturbs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pinxit.cli import main as cli
from pinxit.config import override
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.errors import PinxitError
from pinxit.pictures import write_png
from pinxit.recipes.classifier import ClassifierRun
from pinxit.recipes.classifier import train as train_classifier
from pinxit.recipes.clip.run import ClipRun
from pinxit.recipes.clip.run import train as train_clip
from pinxit.recipes.dalle.run import DalleRun
from pinxit.recipes.dalle.stages import train as train_dalle
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.imagen.stages import train as train_imagen
from pinxit.recipes.judge.judge import train as train_judge
from pinxit.recipes.unclip.run import UnclipRun
from pinxit.recipes.unclip.stages import train as train_unclip
from tests.evaluation.test_accuracy import small as small_classifier
from tests.recipes import imagens, unclips
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import small as small_dalle
from tests.recipes.squares import write_squares
from tests.recipes.test_clip_training import small as small_clip
from tests.recipes.test_judge import CONFIG as JUDGE

Command = Callable[[Path], None]
NAMES = (
    "paint",
    "complete",
    "vary",
    "preview",
    "index",
    "build",
    "encode",
    "shards",
    "stream",
    "dalle",
    "imagen",
    "unclip",
    "clip",
    "classifier",
    "judge",
    "eval",
)  # as `prepared` makes them
PLAN: dict[str, Any] = {
    "images": 24,
    "batch": 8,
    "save_minutes": 0.0,
    "log_every": 8,
    "preview_every": 8,
    "precision": "fp32",
}


def prepared(given: Path) -> dict[str, Command]:
    """What to run, each into a folder."""
    write_squares(given / "squares")
    save_random_checkpoint(given / "painter")
    write_png(given / "known.png", np.full((32, 32, 3), 90, np.uint8))
    (given / "imagen").mkdir()
    (given / "unclip").mkdir()
    every = [f"{name}={value}" for name, value in PLAN.items()]
    dalle = small_dalle(
        given / "squares", *(f"plans.{s}.{one}" for s in ("dvae", "transformer", "clip") for one in every)
    )
    clip = small_clip(given / "squares", "data.held_out=2", *(f"plan.{one}" for one in every))
    write_shards(FolderDataset(given / "squares", 32), given / "shards", per_shard=3, workers=1)
    streamed = override(clip, [f"data.source={given / 'shards'}", "data.stream=true"])
    classifier = small_classifier("drawings:small", *(f"plan.{one}" for one in every))
    few = [f"data.source={given / 'squares'}", "stages.base.pictures=8", "stages.upsampler.pictures=8"]
    imagen = imagens.planned(imagens.tiny_config(given / "imagen", *few), **PLAN, warmup=8)
    unclip = unclips.planned(unclips.tiny_config(given / "unclip"), **PLAN)
    judge = replace(JUDGE, plan=replace(JUDGE.plan, **PLAN))

    def command(*words: object) -> Command:
        def run(out: Path) -> None:
            sys.argv = ["pinxit", *map(str, words), "--out", str(out)]
            cli()

        return run

    painter = ("--checkpoint", given / "painter")
    exam = command("eval", "world", *painter, "--prompts", 10, "--candidates", 1, "--judge", "judge")
    (given / "sees").mkdir()
    sees = ("--checkpoint", unclips.save_random_unclip(given / "sees" / "painter"), "--upscale", 0)
    picture = sorted((given / "squares").glob("*.png"))[0]
    preview = command("data", "preview", given / "squares")
    return {
        "paint": command("paint", "a red square", "--candidates", 2, "--keep", 2, *painter),
        "complete": command(
            "complete", given / "known.png", "a cat", "--keep-rows", 2, "--candidates", 2, "--keep", 2, *painter
        ),
        "vary": command("vary", picture, "--count", 2, "--set", "steps=2", *sees),
        "preview": lambda out: preview(out / "sheet.png"),
        "index": command("search", "index", given / "squares", *painter),
        "build": command("data", "build", given / "squares", "--per-shard", 3, "--workers", 1, "--size", 32),
        "encode": command("data", "encode", given / "shards", "--with", "clip", "--model", given / "painter"),
        "shards": command("data", "index", given / "shards"),
        "stream": lambda out: _quietly(train_clip, ClipRun(out, streamed, "cpu", False)),
        "dalle": lambda out: _quietly(train_dalle, DalleRun(out, dalle, "cpu", False)),
        "imagen": lambda out: _quietly(train_imagen, ImagenRun(out, imagen, "cpu", False)),
        "unclip": lambda out: _quietly(train_unclip, UnclipRun(out, unclip, "cpu", False)),
        "clip": lambda out: _quietly(train_clip, ClipRun(out, clip, "cpu", False)),
        "classifier": lambda out: _quietly(train_classifier, ClassifierRun(out, classifier, "cpu", False)),
        "judge": lambda out: _quietly(train_judge, judge, out, "cpu", False),
        "eval": lambda out: exam(out / "report.json"),
    }


def _quietly(train: Callable[..., Any], *about: Any) -> None:
    """Train; an error is told as the command line tells it."""
    try:
        train(*about)
    except PinxitError as error:
        print(f"pinxit: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

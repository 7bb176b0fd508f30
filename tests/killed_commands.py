"""Every command that writes a folder, small: what `tests.killed` disturbs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
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
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import small as small_dalle
from tests.recipes.squares import write_squares
from tests.recipes.test_clip_training import small as small_clip

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
)
PLAN: dict[str, Any] = {
    "images": 24,
    "batch": 8,
    "save_minutes": 0.0,
    "log_every": 8,
    "preview_every": 8,
    "precision": "fp32",
}
EVERY = [f"{name}={value}" for name, value in PLAN.items()]


def prepared(given: Path, names: Collection[str] = NAMES) -> dict[str, Command]:
    """What to run, each into a folder. What only others than `names` need is neither made nor imported."""
    write_squares(given / "squares")
    save_random_checkpoint(given / "painter")
    write_png(given / "known.png", np.full((32, 32, 3), 90, np.uint8))
    write_shards(FolderDataset(given / "squares", 32), given / "shards", per_shard=3, workers=1)
    painter = ("--checkpoint", given / "painter")
    clip = small_clip(given / "squares", "data.held_out=2", *(f"plan.{one}" for one in EVERY))
    streamed = override(clip, [f"data.source={given / 'shards'}", "data.stream=true"])
    exam = command("eval", "world", *painter, "--prompts", 10, "--candidates", 1, "--judge", "judge")
    preview = command("data", "preview", given / "squares")
    makers: dict[str, Callable[[], Command]] = {
        "paint": lambda: command("paint", "a red square", "--candidates", 2, "--keep", 2, *painter),
        "complete": lambda: command(
            "complete", given / "known.png", "a cat", "--keep-rows", 2, "--candidates", 2, "--keep", 2, *painter
        ),
        "vary": lambda: _vary(given),
        "preview": lambda: lambda out: preview(out / "sheet.png"),
        "index": lambda: command("search", "index", given / "squares", *painter),
        "build": lambda: command("data", "build", given / "squares", "--per-shard", 3, "--workers", 1, "--size", 32),
        "encode": lambda: command("data", "encode", given / "shards", "--with", "clip", "--model", given / "painter"),
        "shards": lambda: command("data", "index", given / "shards"),
        "stream": lambda: _training(train_clip, ClipRun, streamed),
        "dalle": lambda: _dalle(given),
        "imagen": lambda: _imagen(given),
        "unclip": lambda: _unclip(given),
        "clip": lambda: _training(train_clip, ClipRun, clip),
        "classifier": _classifier,
        "judge": _judge,
        "eval": lambda: lambda out: exam(out / "report.json"),
    }
    assert tuple(makers) == NAMES
    return {name: makers[name]() for name in names}


def command(*words: object) -> Command:
    def run(out: Path) -> None:
        sys.argv = ["pinxit", *map(str, words), "--out", str(out)]
        cli()

    return run


def _training(train: Callable[..., Any], run: Callable[..., Any], config: Any) -> Command:
    return lambda out: _quietly(train, run(out, config, "cpu", False))


def _vary(given: Path) -> Command:
    from tests.recipes import unclips

    (given / "sees").mkdir()
    sees = ("--checkpoint", unclips.save_random_unclip(given / "sees" / "painter"), "--upscale", 0)
    picture = sorted((given / "squares").glob("*.png"))[0]
    return command("vary", picture, "--count", 2, "--set", "steps=2", *sees)


def _dalle(given: Path) -> Command:
    stages = ("dvae", "transformer", "clip")
    return _training(
        train_dalle, DalleRun, small_dalle(given / "squares", *(f"plans.{s}.{one}" for s in stages for one in EVERY))
    )


def _imagen(given: Path) -> Command:
    from tests.recipes import imagens

    (given / "imagen").mkdir()
    few = [f"data.source={given / 'squares'}", "stages.base.pictures=8", "stages.upsampler.pictures=8"]
    return _training(
        train_imagen, ImagenRun, imagens.planned(imagens.tiny_config(given / "imagen", *few), **PLAN, warmup=8)
    )


def _unclip(given: Path) -> Command:
    from tests.recipes import unclips

    (given / "unclip").mkdir()
    return _training(train_unclip, UnclipRun, unclips.planned(unclips.tiny_config(given / "unclip"), **PLAN))


def _classifier() -> Command:
    from tests.evaluation.test_accuracy import small

    config = small("drawings:small", *(f"plan.{one}" for one in EVERY))
    return _training(train_classifier, ClassifierRun, config)


def _judge() -> Command:
    from tests.recipes.test_judge import CONFIG

    judge = replace(CONFIG, plan=replace(CONFIG.plan, **PLAN))
    return lambda out: _quietly(train_judge, judge, out, "cpu", False)


def _quietly(train: Callable[..., Any], *about: Any) -> None:
    """Train; an error is told as the command line tells it."""
    try:
        train(*about)
    except PinxitError as error:
        print(f"pinxit: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

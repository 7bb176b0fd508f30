"""`pinxit paint`: pictures from sentences."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.options import Device, EngineChoice, EngineOption, Workers, check_workers
from pinxit.cli.paint_options import (
    AsJson,
    Candidates,
    Guidance,
    Int8,
    Keep,
    Out,
    Seed,
    Strict,
    Temperature,
    warn_about_prompt,
)
from pinxit.cli.painter_choice import PainterChoice, enlarger
from pinxit.cli.painter_settings import Changes, settings_of
from pinxit.errors import UsageError
from pinxit.files import read_lines
from pinxit.weights.zoo import PAINTERS

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.jobs import Watch
    from pinxit.recipes.painting import Painter
    from pinxit.types import Ranked


class Recipe(StrEnum):
    """The systems that paint."""

    dalle = "dalle"
    imagen = "imagen"
    unclip = "unclip"


SHIPPED = {Recipe(name): checkpoint for name, checkpoint in PAINTERS.items()}
RANKER = "tiny"  # the CLIP that ranks the pictures of --compare


def paint(
    prompt: Annotated[str | None, typer.Argument(help="What to paint, in English; dalle reads Chinese too.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="A UTF-8 text file with one prompt a line; - reads stdin.")
    ] = None,
    candidates: Candidates = 16,
    keep: Keep = 4,
    seed: Seed = 0,
    recipe: Annotated[
        Recipe | None, typer.Option(help="Paint by the shipped checkpoint of this system.", show_default="dalle")
    ] = None,
    guidance: Guidance = None,
    temperature: Temperature = None,
    steps: Annotated[
        int | None,
        typer.Option(help="imagen, unclip: how often the picture is denoised.", show_default="the checkpoint's"),
    ] = None,
    changes: Changes = None,
    ranker: Annotated[
        str | None,
        typer.Option(
            help="The CLIP that ranks the candidates, and guides imagen's where clip_guidance is set: a shipped name, "
            "a checkpoint folder, or published weights; DeepFloyd IF has none of its own, nor has Karlo without its "
            "image_encoder.",
            show_default="the checkpoint's",
        ),
    ] = None,
    upscale: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Enlarge the kept pictures to so many pixels a side with an upsampler; 0: do not.",
            show_default="as large as it can, for imagen and unclip; 0 with --compare",
        ),
    ] = None,
    upsampler: Annotated[
        str | None,
        typer.Option(
            help="The upsampler for --upscale: a shipped checkpoint's name, or a checkpoint folder.",
            show_default="the painter's own, else imagen-tiny",
        ),
    ] = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    strict: Strict = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="A shipped checkpoint's name, a checkpoint folder, or a folder of DeepFloyd IF or Karlo.",
            show_default="tiny",
        ),
    ] = None,
    device: Device = "auto",
    int8: Int8 = False,
    engine: EngineOption = EngineChoice.local,
    workers: Workers = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Paint by all installed systems (--checkpoint replaces that of its own system), ranked by one CLIP on "
            "one sheet.",
        ),
    ] = False,
) -> None:
    """Paint a sentence: draw candidates, rank them with CLIP, keep the best.

    Writes sheet.png with the kept pictures and each picture alone; their metadata tell how to paint them again.

    [bold]Examples[/bold]

      pinxit paint "an armchair in the shape of an avocado"
      pinxit paint "三个绿色的三角形" --candidates 64 --keep 8 --seed 7
      pinxit paint --prompts prompts.txt --json > results.jsonl
      pinxit paint "two yellow squares" --recipe imagen --steps 25 --guidance 3
      pinxit paint "two yellow squares" --set top_k=16 --set agreement=0
      pinxit paint "a red car on a beach" --upscale 256
      pinxit paint "a red car on a beach" --compare
      pinxit paint --prompts million.txt --engine ray --out there
    """
    from pinxit.api import load
    from pinxit.cli import progress
    from pinxit.cli.compare import Comparison, systems
    from pinxit.cli.compare import compare as compare_systems
    from pinxit.cli.paint_output import draw_and_write

    texts = _prompts(prompt, prompts)
    check_workers(engine, workers)
    given = settings_of(changes, guidance=guidance, temperature=temperature, steps=steps)
    if compare:
        if recipe is not None or int8 or engine is EngineChoice.ray:
            raise UsageError("--compare paints by all systems, here: leave out --recipe, --int8 and --engine ray.")

        def opened(name: str) -> Painter:
            return load(name, device=device, ranker=RANKER if ranker is None else ranker)

        def enlarging(painter: Painter) -> Upsampler | None:
            return enlarger(painter, upscale or 0, upsampler, device)

        of = systems(_installed(checkpoint), opened, enlarging, given)
        compare_systems(of, Comparison(texts, candidates, keep, seed), out, as_json, strict)
        return
    named = SHIPPED[recipe or Recipe.dalle] if checkpoint is None else checkpoint
    _check_choice(named, ranker, candidates, keep)
    system = None if recipe is None else recipe.value
    choice = PainterChoice(named, device, int8, system, ranker, upscale, upsampler, given)
    asked: dict[str, Any] = {"seed": seed, "candidates": candidates, "keep": keep}
    if engine is EngineChoice.ray:
        from pinxit.cli.paint_ray import paint_by_ray

        paint_by_ray(choice, asked, texts, out, as_json, strict, workers)
        return
    chosen = choice.open()
    for text in texts:
        warn_about_prompt(chosen.painter, text, strict)
    how: dict[str, Any] = {"candidates": candidates, "keep": keep, "upsampler": chosen.enlarger, **chosen.settings}
    how |= {"previews": progress.PREVIEW_SECONDS}

    def draw(watch: Watch) -> Generator[list[Ranked], None, None]:
        return chosen.painter.paint_each([(text, seed) for text in texts], watch=watch, **how)

    draw_and_write(chosen.painter, texts, draw, out, chosen.facts(asked), as_json)


def installed() -> dict[str, str]:
    """The shipped painters that are installed, by recipe."""
    from pinxit.weights.zoo import shipped

    return {recipe.value: name for recipe, name in SHIPPED.items() if name in shipped()}


def _installed(checkpoint: str | None) -> dict[str, str]:
    """The painters to compare: all that are installed, and `checkpoint`, in place of that of its own recipe."""
    from pinxit.weights.checkpoint import open_checkpoint
    from pinxit.weights.zoo import find, published_recipe

    if checkpoint is None:
        return installed()
    recipe = published_recipe(checkpoint) or open_checkpoint(find(checkpoint)).recipe
    return installed() | {recipe: checkpoint}


def _check_choice(checkpoint: str, ranker: str | None, candidates: int, keep: int) -> None:
    """Raise UsageError if candidates are to be ranked, but there is no CLIP to rank them."""
    from pinxit.weights.zoo import lacks_clip

    if ranker is None and candidates > keep and lacks_clip(checkpoint):
        reason = f"{checkpoint} holds no CLIP to choose {keep} of {candidates} candidates"
        raise UsageError(f"{reason}: name one with --ranker, or draw only {keep} with --candidates {keep}.")


def _prompts(prompt: str | None, file: Path | None) -> list[str]:
    if (prompt is None) == (file is None):
        raise UsageError("give a prompt, or a file of prompts with --prompts, but not both.")
    if file is None:
        assert prompt is not None
        if not prompt.strip():
            raise UsageError("the prompt is empty: say what to paint.")
        return [prompt.strip()]
    return read_lines(file, "prompts", typer.get_binary_stream("stdin").read() if str(file) == "-" else None)

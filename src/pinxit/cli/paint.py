"""`pinxit paint`: pictures from sentences."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.options import Device
from pinxit.cli.painting import (
    Agreement,
    AsJson,
    Candidates,
    Guidance,
    Int8,
    Keep,
    Out,
    Seed,
    Strict,
    Temperature,
    TopK,
    TopP,
    draw_and_write,
    opened,
    say_about,
)
from pinxit.errors import UsageError
from pinxit.files import read_lines

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter, Watch
    from pinxit.types import Ranked


class Recipe(StrEnum):
    """The systems that paint."""

    dalle = "dalle"
    imagen = "imagen"


SHIPPED = {Recipe.dalle: "tiny", Recipe.imagen: "imagen-tiny"}


def paint(
    prompt: Annotated[str | None, typer.Argument(help="What to paint, in English or Chinese.")] = None,
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
    top_k: TopK = None,
    top_p: TopP = None,
    steps: Annotated[int | None, typer.Option(min=1, help="imagen: how often the picture is denoised.")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="imagen: ddim, ancestral, euler, heun, edm, dpm++2m or dpm++2m-sde.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(help="imagen: where the steps fall: even in time, or karras, closer where it is clean."),
    ] = None,
    percentile: Annotated[
        float | None, typer.Option(help="imagen: of dynamic thresholding, e.g. 0.995; 0 clips instead.")
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option(help="DeepFloyd IF: timesteps by name or by section (smart100; 10,10,3,2,2) instead of --steps."),
    ] = None,
    agreement: Agreement = None,
    ranker: Annotated[
        str | None,
        typer.Option(
            help="The CLIP that ranks the candidates: a shipped name, a checkpoint folder, or published weights; "
            "DeepFloyd IF has none of its own.",
            show_default="the checkpoint's",
        ),
    ] = None,
    upscale: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Enlarge the kept pictures to so many pixels a side with an upsampler; 0: do not.",
            show_default="as large as it can, for imagen",
        ),
    ] = None,
    upsampler: Annotated[
        str | None,
        typer.Option(
            help="Who enlarges: a shipped checkpoint's name, or a checkpoint folder.",
            show_default="the painter's own, else imagen-tiny",
        ),
    ] = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    strict: Strict = False,
    checkpoint: Annotated[
        str | None, typer.Option(help="A shipped checkpoint's name, or a checkpoint folder.", show_default="tiny")
    ] = None,
    device: Device = "auto",
    int8: Int8 = False,
) -> None:
    """Paint a sentence: draw candidates, rank them with CLIP, keep the best.

    Writes sheet.png with the kept pictures and each picture alone; their metadata tell how to paint them again.

    [bold]Examples[/bold]

      pinxit paint "a small red cube on top of a big green cube"
      pinxit paint "三个绿色的三角形" --candidates 64 --keep 8 --seed 7
      pinxit paint --prompts prompts.txt --json > results.jsonl
      pinxit paint "two yellow squares" --recipe imagen --steps 25 --guidance 3
      pinxit paint "a red car on a beach" --upscale 256
    """
    from pinxit.cli import progress

    texts = _prompts(prompt, prompts)
    wanted: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
    wanted |= {"agreement": agreement}
    wanted |= {"steps": steps, "sampler": sampler, "grid": grid, "percentile": percentile, "spacing": spacing}
    if steps is not None and spacing is not None:
        raise UsageError("give --steps or --spacing, but not both: a spacing names its own timesteps.")
    named = checkpoint or SHIPPED[recipe or Recipe.dalle]
    _check_choice(named, ranker, candidates, keep)
    painter, settings = opened(named, device, int8, wanted, None if recipe is None else recipe.value, ranker)
    enlarger = _enlarger(painter, upscale, upsampler, device)
    facts: dict[str, Any] = {"seed": seed, "candidates": candidates, "keep": keep}
    facts |= {} if enlarger is None else enlarger.facts
    for text in texts:
        say_about(painter, text, strict)
    how: dict[str, Any] = {"candidates": candidates, "keep": keep, "upsampler": enlarger} | settings
    how |= {"previews": progress.PREVIEW_SECONDS}

    def draw(watch: Watch) -> Generator[list[Ranked], None, None]:
        return painter.paint_each([(text, seed) for text in texts], watch=watch, **how)

    draw_and_write(painter, texts, draw, out, settings | facts, as_json)


def _check_choice(checkpoint: str, ranker: str | None, candidates: int, keep: int) -> None:
    """Refuse to draw pictures that nobody can choose among."""
    from pinxit.weights.zoo import is_deepfloyd

    if ranker is None and candidates > keep and is_deepfloyd(checkpoint):
        told = f"{checkpoint} holds no CLIP to choose {keep} of {candidates} candidates"
        raise UsageError(f"{told}: name one with --ranker, or draw only {keep} with --candidates {keep}.")


def _enlarger(painter: Painter, upscale: int | None, named: str | None, device: str) -> Upsampler | None:
    """What enlarges the kept pictures: the one that is named, the painter's own, or the shipped one; None: nothing."""
    from pinxit.api import load_upsampler

    own: Upsampler | None = getattr(painter, "upsampler", None)
    if upscale == 0 or (upscale is None and own is None):
        if named is not None:
            raise UsageError(
                f"--upsampler {named} would enlarge nothing: say with --upscale how large to make pictures."
            )
        return None
    if named or own is None:
        name = named or SHIPPED[Recipe.imagen]
        found = load_upsampler(name, device=device, reader=getattr(painter, "reader", None))
    else:
        found = own
    found = found if upscale is None else found.making(upscale)
    found.check_size(painter.size, painter.size)
    return found


def _prompts(prompt: str | None, file: Path | None) -> list[str]:
    if (prompt is None) == (file is None):
        raise UsageError("give a prompt, or a file of prompts with --prompts, but not both.")
    if file is None:
        assert prompt is not None
        if not prompt.strip():
            raise UsageError("the prompt is empty: say what to paint.")
        return [prompt.strip()]
    return read_lines(file, "prompts", typer.get_binary_stream("stdin").read() if str(file) == "-" else None)

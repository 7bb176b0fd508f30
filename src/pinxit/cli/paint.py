"""`pinxit paint` and `pinxit complete`: pictures from sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.options import Device
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.dalle.painter import DallePainter, Progress
    from pinxit.types import Ranked

Candidates = Annotated[int, typer.Option(min=1, help="How many pictures to draw before the best are kept.")]
Keep = Annotated[int, typer.Option(min=1, help="How many of the best to keep, as CLIP ranks them.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same pictures, whatever else is asked for.")]
Temperature = Annotated[
    float | None, typer.Option(min=0.0, help="Below 1: safer, above 1: wilder.", show_default="the checkpoint's")
]
TopK = Annotated[int | None, typer.Option(min=1, help="Draw each code from the k likeliest only.")]
TopP = Annotated[float | None, typer.Option(help="Draw each code from the likeliest that add up to p (0 to 1).")]
Guidance = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        help="Classifier-free guidance: 1 is none, more follows the words closer.",
        show_default="the checkpoint's",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the results; each prompt gets a folder of its own there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a prompt, best picture first.")]
Strict = Annotated[bool, typer.Option(help="Refuse a prompt that is too long instead of cutting its end off.")]
CheckpointOption = Annotated[str, typer.Option(help="A shipped checkpoint's name, or a checkpoint folder.")]


def paint(
    prompt: Annotated[str | None, typer.Argument(help="What to paint, in English or Chinese.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="A UTF-8 text file with one prompt a line; - reads stdin.")
    ] = None,
    candidates: Candidates = 16,
    keep: Keep = 4,
    seed: Seed = 0,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    guidance: Guidance = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    strict: Strict = False,
    checkpoint: CheckpointOption = "tiny",
    device: Device = "auto",
) -> None:
    """Paint a sentence: draw candidates, rank them with CLIP, keep the best.

    Writes sheet.png with the kept pictures and each picture alone; their metadata tell how to paint them again.

    [bold]Examples[/bold]

      pinxit paint "a small red cube on top of a big green cube"
      pinxit paint "三个绿色的三角形" --candidates 64 --keep 8 --seed 7
      pinxit paint --prompts prompts.txt --json > results.jsonl
    """
    texts = _prompts(prompt, prompts)
    painter, settings = _open(checkpoint, device, temperature, top_k, top_p, guidance)
    for text in texts:
        _say_about(painter, text, strict)

        def draw(watch: Callable[[Progress], None], text: str = text) -> list[Ranked]:
            return painter.paint(text, candidates=candidates, keep=keep, seed=seed, watch=watch, **settings)

        _draw_and_write(painter, text, draw, out, settings | {"seed": seed}, as_json)


def complete(
    picture: Annotated[Path, typer.Argument(help="The picture to redraw a part of; its centre square is used.")],
    prompt: Annotated[str, typer.Argument(help="What the whole picture should show afterwards.")],
    keep_rows: Annotated[
        int | None, typer.Option(help="Keep this many rows of the code grid from the top and draw the rest.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="Redraw left,top,right,bottom, in pixels of the given picture.")
    ] = None,
    candidates: Candidates = 16,
    keep: Keep = 4,
    seed: Seed = 0,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    guidance: Guidance = None,
    out: Out = Path("pinxit-out"),
    as_json: AsJson = False,
    strict: Strict = False,
    checkpoint: CheckpointOption = "tiny",
    device: Device = "auto",
) -> None:
    """Redraw a rectangle of a picture so that the whole fits the prompt; everything else stays as it is.

    [bold]Examples[/bold]

      pinxit complete cat.png "the exact same cat on the top as a sketch on the bottom" --keep-rows 4
      pinxit complete room.png "a blue vase on a table" --box 16,24,48,64
    """
    from pinxit.data.decode import read_picture

    if (keep_rows is None) == (box is None):
        raise UsageError("give exactly one of --keep-rows and --box: they say which part is redrawn.")
    known = read_picture(picture)
    painter, settings = _open(checkpoint, device, temperature, top_k, top_p, guidance)
    hole = painter.hole(known, keep_rows=keep_rows, box=_box(box) if box else None)
    _say_about(painter, prompt, strict)

    def draw(watch: Callable[[Progress], None]) -> list[Ranked]:
        return painter.complete(
            known, prompt, hole, candidates=candidates, keep=keep, seed=seed, watch=watch, **settings
        )

    facts = {"seed": seed, "completes": picture.name, "keep_rows": keep_rows, "box": box}
    _draw_and_write(painter, prompt, draw, out, settings | facts, as_json)


def _prompts(prompt: str | None, file: Path | None) -> list[str]:
    if (prompt is None) == (file is None):
        raise UsageError("give a prompt, or a file of prompts with --prompts, but not both.")
    if file is None:
        assert prompt is not None
        if not prompt.strip():
            raise UsageError("the prompt is empty: say what to paint.")
        return [prompt.strip()]
    try:
        data = typer.get_binary_stream("stdin").read() if str(file) == "-" else file.read_bytes()
        texts = [line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"cannot read prompts from {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8 text.") from error
    if not texts:
        raise UsageError(f"{file} holds no prompt: write one a line.")
    return texts


def _box(text: str) -> tuple[int, int, int, int]:
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--box must be four whole numbers left,top,right,bottom, not '{text}'.") from None
    return left, top, right, bottom


def _open(
    checkpoint: str,
    device: str,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    guidance: float | None,
) -> tuple[DallePainter, dict[str, Any]]:
    from pinxit.api import load

    if top_p is not None and not 0 < top_p <= 1:
        raise UsageError(f"--top-p must be above 0 and at most 1, not {top_p}.")
    painter = load(checkpoint, device=device)
    wanted = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
    return painter, painter.defaults | {name: value for name, value in wanted.items() if value is not None}


def _say_about(painter: DallePainter, text: str, strict: bool) -> None:
    """Say on stderr what the painter will not make of the prompt; with `strict`, a cut prompt is an error."""
    dropped = painter.tokens_over_limit(text)
    if dropped:
        message = f"the prompt is {dropped} tokens over the limit of {painter.text_tokens}"
        if strict:
            raise UsageError(f"{message}: shorten it, or drop --strict to paint its beginning.")
        typer.echo(f"pinxit: {message}: the last {dropped} are dropped.", err=True)
    unknown = painter.unknown_words(text)
    if unknown:
        words = ", ".join(f"'{word}'" for word in unknown)
        typer.echo(f"pinxit: {painter.name} has never met {words} in training and will guess.", err=True)


def _draw_and_write(
    painter: DallePainter,
    text: str,
    draw: Callable[[Callable[[Progress], None]], list[Ranked]],
    out: Path,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    from pinxit.cli.output import as_json as json_line
    from pinxit.cli.output import folder_name, write_results
    from pinxit.cli.progress import painting

    facts = settings | painter.provenance
    folder = out / folder_name(text, facts)
    with painting(text, folder / "preview.png") as watch:
        ranked = draw(watch)
    paths = write_results(folder, text, ranked, facts)
    typer.echo(json_line(text, ranked, paths) if as_json else str(folder / "sheet.png"))

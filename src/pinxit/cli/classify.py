"""`pinxit classify`: classify pictures by labels of the user's choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinxit.cli.console import print_json, print_lines
from pinxit.cli.open_clip import clip_with_bar
from pinxit.cli.options import ActivationName, ClipName, Device
from pinxit.errors import UsageError
from pinxit.files import read_lines

if TYPE_CHECKING:
    from pinxit.recipes.clip.zero_shot import Guess


def classify(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.")],
    labels: Annotated[str | None, typer.Option(help='Labels with commas between them: "cat,dog,a red car".')] = None,
    labels_file: Annotated[Path | None, typer.Option(help="A UTF-8 text file with one label a line.")] = None,
    templates: Annotated[
        str,
        typer.Option(help="Sentences around a label: simple, imagenet80, label (none), or a file of lines with {}."),
    ] = "simple",
    top: Annotated[int, typer.Option(min=1, help="How many labels to print for each picture.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a picture.")] = False,
    checkpoint: ClipName = "tiny",
    activation: ActivationName = None,
    device: Device = "auto",
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bfloat16: about twice as fast, on processors that have it.")
    ] = False,
) -> None:
    """Classify pictures by your own labels (CLIP, zero-shot): no training, only words.

    Pictures that cannot be read are reported and skipped. The shipped model knows only the built-in world; give
    published weights for photographs.

    [bold]Examples[/bold]

      pinxit classify pinxit-out --labels "a green triangle,a red cube,a fox"
      pinxit classify photos/ --labels-file things.txt --checkpoint ViT-B-32.pt \\
          --templates imagenet80 --json
    """
    asked = _labels(labels, labels_file)
    with clip_with_bar(checkpoint, device, "classify", bf16, activation=activation) as clip:
        for path, guesses in clip.classify(pictures, asked, templates=templates, top=top):
            if as_json:
                print_json(_as_json(path, guesses))
            else:
                print_lines(_as_line(path, guesses))


def _labels(given: str | None, file: Path | None) -> list[str]:
    if (given is None) == (file is None):
        raise UsageError("give either --labels or --labels-file.")
    if file is None:
        return [label for label in (given or "").split(",") if label.strip()]
    return read_lines(file, "labels")


def _as_json(path: Path, guesses: list[Guess]) -> dict[str, object]:
    labels = [{"label": guess.label, "share": round(guess.share, 6)} for guess in guesses]
    return {"path": str(path), "labels": labels}


def _as_line(path: Path, guesses: list[Guess]) -> str:
    return f"{path}: " + ", ".join(f"{guess.label} {guess.share:.0%}" for guess in guesses)

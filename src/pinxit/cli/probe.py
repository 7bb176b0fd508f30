"""`pinxit probe`: a linear probe of a CLIP's features on the user's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinxit.cli.console import print_json, print_lines
from pinxit.cli.open_clip import clip_with_bar
from pinxit.cli.options import LARGEST, ActivationName, ClipName, Device


def probe(
    train: Annotated[Path, typer.Argument(help="Folder with a sub-folder of pictures for each class.")],
    test: Annotated[Path, typer.Argument(help="Another one with the same classes, which is not trained on.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST, help="Which fifth of the training pictures chooses the regularisation.")
    ] = 0,
    checkpoint: ClipName = "tiny",
    activation: ActivationName = None,
    device: Device = "auto",
) -> None:
    """Train a linear classifier on a frozen CLIP's features and test it (the paper's linear probe).

    The regularisation is swept over 96 steps from 1e-6 to 1e6, coarse to fine, on a fifth of the training pictures.

    [bold]Example[/bold]

      pinxit probe flowers/train flowers/test --checkpoint ViT-B-32.pt
    """
    with clip_with_bar(checkpoint, device, "probe", activation=activation) as clip:
        result = clip.probe(train, test, seed=seed)
    summary = {"accuracy": result.accuracy, "strength": result.strength, "held_out": result.held_out}
    per_class = {name: share for name, share in result.per_class.items() if share == share}  # NaN: no test pictures
    if as_json:
        print_json(summary | {"per_class": per_class})
        return
    for name, share in per_class.items():
        print_lines(f"{share:6.1%}  {name}")
    print_lines(f"{result.accuracy:6.1%}  of all test pictures (C = {result.strength:.3g})")

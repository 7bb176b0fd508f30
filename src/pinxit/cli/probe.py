"""`pinxit probe`: what a CLIP has already learnt of the user's classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pinxit.cli.reading import read_in_parts
from pinxit.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from pinxit.recipes.clip.encoder import ClipEncoder


def probe(
    train: Annotated[Path, typer.Argument(help="Folder with a sub-folder of pictures for each class.")],
    test: Annotated[Path, typer.Argument(help="Another one with the same classes; no picture of it is learnt from.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Which fifth of the training pictures chooses the strength.")] = 0,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped name, a checkpoint folder, or published CLIP weights (file or folder).")
    ] = "tiny",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Train a linear classifier on a frozen CLIP's features and test it (the paper's linear probe).

    The regularisation is swept over 96 steps from 1e-6 to 1e6, coarse to fine, on a fifth of the training pictures.

    [bold]Example[/bold]

      pinxit probe flowers/train flowers/test --checkpoint ViT-B-32.pt
    """
    from pinxit.recipes.clip import probe as probes
    from pinxit.recipes.clip.encoder import ClipEncoder

    for folder in (train, test):
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}.")
    learnt, asked = probes.class_folders(train), probes.class_folders(test)
    if strange := sorted(asked.keys() - learnt.keys()):
        raise UsageError(f"{test} has classes that {train} lacks: {', '.join(strange)}.")
    encoder, names = ClipEncoder.open(checkpoint, device), list(learnt)
    found = probes.probe(_features(encoder, learnt, names), _features(encoder, asked, names), names, seed)
    told = {"accuracy": found.accuracy, "strength": found.strength, "held_out": found.held_out}
    if as_json:
        typer.echo(json.dumps(told | {"per_class": {name: found.per_class[name] for name in asked}}))
        return
    for name in asked:
        typer.echo(f"{found.per_class[name]:6.1%}  {name}")
    typer.echo(f"{found.accuracy:6.1%}  of all test pictures (C = {found.strength:.3g})")


def _features(encoder: ClipEncoder, classes: dict[str, list[Path]], names: list[str]) -> tuple[Tensor, Tensor]:
    from pinxit.recipes.clip.probe import stacked

    rows = [
        (encoder.features(pictures), names.index(name))
        for name, files in classes.items()
        for _, pictures in read_in_parts(encoder, files, name)
    ]
    if not rows:
        raise DataError("none of the pictures could be read.")
    return stacked(rows)

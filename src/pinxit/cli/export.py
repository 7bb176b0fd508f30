"""`pinxit export`: write networks for other programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pinxit.cli.console import print_lines
from pinxit.files import check_empty
from pinxit.locks import file_lock


class Target(StrEnum):
    """The format, or the library that reads it."""

    onnx = "onnx"
    diffusers = "diffusers"
    transformers = "transformers"
    open_clip = "open_clip"
    peft = "peft"


def _onnx(source: str, out: Path) -> list[str]:
    from pinxit.recipes.onnx_networks import export_onnx

    return [
        f"{out / one.file}: ONNX Runtime answers at most {one.difference:.1g} away from the network"
        for one in export_onnx(source, out)
    ]


def _library(to: Target) -> Callable[[str, Path], list[str]]:
    def write(source: str, out: Path) -> list[str]:
        from pinxit.recipes.export import export

        return [str(path) for path in export(source, to.value, out)]

    return write


TARGETS: dict[Target, Callable[[str, Path], list[str]]] = {
    to: _onnx if to == Target.onnx else _library(to) for to in Target
}
"""For each target a function that writes a source into a new folder, and returns the lines to print."""


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A shipped name, a checkpoint folder, a run folder (not for onnx), or the weights of any CLIP (onnx).",
        ),
    ],
    to: Annotated[
        Target,
        typer.Option(
            help="onnx: CLIP's towers, the dVAE's decoder, one step of every diffusion network; transformers and "
            "open_clip: a CLIP; diffusers: DeepFloyd IF and Karlo; peft: the LoRA weights alone."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write; it must be new or empty.", show_default="CHECKPOINT-TARGET"),
    ] = None,
) -> None:
    """Write networks for other programs, which compute the same outputs.

    [bold]Examples[/bold]

      pinxit export tiny --to onnx
      pinxit export ViT-B-32.pt --to onnx --out clip-onnx
      pinxit export runs/catalogue --to transformers --out my-clip
      pinxit export runs/product --to peft --out adapter
    """
    folder = out or Path(f"{_name_of(source)}-{to.value}")
    check_empty(folder)
    place = Path(os.path.realpath(folder))
    with file_lock(place.with_name(f".{place.name}.lock"), f"the folder {folder}"):
        check_empty(folder)  # as another command may have left it
        print_lines(*TARGETS[to](source, folder))


def _name_of(source: str) -> str:
    """The last part of a path or an address, without the suffix of a file; that of a folder belongs to its name."""
    path = Path(os.path.abspath(source.rpartition(":")[2]))  # noqa: PTH100 - a link keeps its own name
    return path.stem if path.is_file() else path.name

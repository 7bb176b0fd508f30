"""`pinxit export`: trained networks as other libraries read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pinxit.cli.console import print_lines


def export(
    source: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a checkpoint folder or a shipped name.")],
    to: Annotated[str, typer.Option(help="diffusers, transformers, open_clip, or peft: what --lora added, alone.")],
    out: Annotated[Path, typer.Option(help="The folder to write; it must be new or empty.")],
) -> None:
    """Write what was trained as another library reads it: CLIP for transformers and open_clip, IF for diffusers.

    [bold]Examples[/bold]

      pinxit export runs/clip --to transformers --out my-clip
      pinxit export runs/product --to peft --out adapter
    """
    from pinxit.recipes.export import export as write

    print_lines(*map(str, write(source, to, out)))

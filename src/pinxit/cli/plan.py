"""`pinxit plan`: what training a preset costs on GPUs that are not here."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.console import print_lines
from pinxit.cli.train.options import Changes


def plan(
    preset: Annotated[str, typer.Argument(help="RECIPE/NAME of clip, dalle, imagen or unclip: imagen/paper.")],
    gpus: Annotated[
        int, typer.Option(min=1, help="How many GPUs; each holds the whole model, or with plan.shard a part of it.")
    ] = 8,
    kind: Annotated[str, typer.Option(help="v100, a100, h100, h200, b200, l40s or rtx4090.")] = "h100",
    share: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            help="Share of peak operations that training reaches; logs of runs have measured ones.",
            show_default="0.35, marked as assumed",
        ),
    ] = None,
    changes: Changes = None,
) -> None:
    """Print parameters, operations, memory per rank and time of every stage of a preset; train nothing.

    [bold]Examples[/bold]

      pinxit plan imagen/paper --gpus 256 --kind h100 \\
          --set stages.base.plan.micro=4
      pinxit plan dalle/gpu-small --gpus 1 --kind rtx4090
    """
    from pinxit.recipes.gpu_estimate import table

    print_lines(*table(preset, gpus, kind, share, changes or ()))

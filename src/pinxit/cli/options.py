"""Options that several verbs share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
ClipName = Annotated[
    str,
    typer.Option("--checkpoint", help="A shipped name, a checkpoint folder, published weights, or hub:OWNER/NAME."),
]
RunFolder = Annotated[Path, typer.Option(help="Run folder; training goes on from whatever is there.")]
Pictures = Annotated[int | None, typer.Option(min=1, help="How many pictures of the data to store and use.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a field, e.g. plan.lr=5e-4 or seed=1; may be repeated.")
]
Minutes = Annotated[
    float | None, typer.Option(min=0.0, help="Save and stop after so many minutes; the same command goes on.")
]
Quiet = Annotated[bool, typer.Option(help="No progress on stderr.")]

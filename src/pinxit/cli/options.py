"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pinxit.errors import UsageError

LARGEST = 2**63 - 1
"""The largest whole number: `schema.LARGEST`, repeated here because importing that is slow."""

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
ActivationName = Annotated[
    str | None,
    typer.Option("--activation", help="gelu or quickgelu, for weights that do not say which.", show_default=False),
]
ClipName = Annotated[
    str,
    typer.Option("--checkpoint", help="A shipped name, a checkpoint folder, published weights, or hub:OWNER/NAME."),
]


class EngineChoice(StrEnum):
    """What runs the work: this process, or a Ray cluster."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    EngineChoice,
    typer.Option(
        help="local, or ray: by the processes of a Ray cluster, that of RAY_ADDRESS or one started here "
        r"(pinxit\[ray])."  # without the backslash, help would take the extra for a style, and leave it out
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="With --engine ray: how many processes work.", show_default="one a GPU, else one a machine"
    ),
]


def check_workers(engine: EngineChoice, workers: int | None) -> None:
    """Raise UsageError for --workers without --engine ray."""
    if workers is not None and engine is not EngineChoice.ray:
        raise UsageError(f"--workers {workers} is for --engine ray: one process works without it.")

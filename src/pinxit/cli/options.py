"""Options that several verbs share, said once."""

from __future__ import annotations

from typing import Annotated

import typer

LARGEST = 2**63 - 1
"""Of whole numbers: `schema.LARGEST`, which commands may know before anything else is imported."""

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
ActivationName = Annotated[
    str | None,
    typer.Option("--activation", help="gelu or quickgelu, for a weight file that does not tell.", show_default=False),
]
ClipName = Annotated[
    str,
    typer.Option("--checkpoint", help="A shipped name, a checkpoint folder, published weights, or hub:OWNER/NAME."),
]

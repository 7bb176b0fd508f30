"""`pinxit recipes`: the systems that paint, and how their stages hang together."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.options import Device
from pinxit.cli.paint import SHIPPED
from pinxit.cli.telling import tell


def recipes(
    graph: Annotated[
        str | None,
        typer.Option(help="Print the stages of this recipe, or of a checkpoint by name or folder, and their routes."),
    ] = None,
    device: Device = "auto",
) -> None:
    """List the recipes that paint with their shipped checkpoints, or print the graph of one.

    [bold]Examples[/bold]

      pinxit recipes
      pinxit recipes --graph imagen
    """
    if graph is None:
        for recipe, name in SHIPPED.items():
            tell(f"{recipe.value}: {name}")
        return
    from pinxit.api import load

    shipped = {recipe.value: name for recipe, name in SHIPPED.items()}
    painter = load(shipped.get(graph, graph), device=device)
    upsampler = getattr(painter, "upsampler", None)
    graphs = painter.graph if upsampler is None else painter.graph.with_more(upsampler.graph)
    tell(*str(graphs).splitlines())

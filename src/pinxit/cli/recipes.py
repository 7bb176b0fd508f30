"""`pinxit recipes`: the systems that paint, the graphs of their stages, and their settings."""

from __future__ import annotations

from typing import Annotated

import typer

from pinxit.cli.console import print_lines
from pinxit.cli.options import Device
from pinxit.cli.paint import SHIPPED, Recipe, installed
from pinxit.config import as_set
from pinxit.errors import UsageError

CAN = {
    Recipe.dalle: "paint, complete",
    Recipe.imagen: "paint, enlarge",
    Recipe.unclip: "paint, enlarge, edit, vary, blend, shift, reconstruct",
}
PUBLISHED = {"deepfloyd": "paint, enlarge", "karlo": "paint, enlarge, vary, blend, shift, reconstruct"}
"""Published weights of others, which users supply."""


def recipes(
    graph: Annotated[
        str | None,
        typer.Option(help="Print the stages of this recipe, or of a checkpoint by name or folder, and their routes."),
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(help="Print the settings of this recipe, or of a checkpoint, as --set takes them, with defaults."),
    ] = None,
    device: Device = "auto",
) -> None:
    """List the recipes with their shipped checkpoints and abilities, or print the graph or the settings of one.

    [bold]Examples[/bold]

      pinxit recipes
      pinxit recipes --graph imagen
      pinxit recipes --settings imagen
    """
    if graph is not None and settings is not None:
        raise UsageError("give --graph or --settings, but not both.")
    shipped = {recipe.value: name for recipe, name in SHIPPED.items()}
    asked = settings if graph is None else graph
    if asked is None:
        here = installed()
        print_lines(*(f"{recipe}: {here.get(recipe, 'none installed')} ({can})" for recipe, can in CAN.items()))
        print_lines(*(f"{name}: your folder in diffusers' layout ({can})" for name, can in PUBLISHED.items()))
        return
    from pinxit.api import load
    from pinxit.recipes.capabilities import upsampler_of

    painter = load(shipped.get(asked, asked), device=device)
    upsampler = upsampler_of(painter)
    if settings is not None:
        known = painter.defaults | ({} if upsampler is None else upsampler.defaults)
        print_lines(*(f"{name}={as_set(value)}" for name, value in known.items()))
        return
    graphs = painter.graph if upsampler is None else painter.graph.joined_with(upsampler.graph)
    print_lines(*str(graphs).splitlines())

"""`pinxit eval`: measure painters and CLIPs."""

from __future__ import annotations

import typer

from pinxit.cli.eval import clip
from pinxit.cli.eval.famous import famous
from pinxit.cli.eval.sweep import sweep
from pinxit.cli.eval.world import world

app = typer.Typer(help="Measure painters and CLIPs.", no_args_is_help=True)
app.command("world")(world)
app.command("famous")(famous)
app.command("sweep")(sweep)
app.command("labels")(clip.labels)
app.command("shift")(clip.shift)
app.command("retrieval")(clip.retrieval)


@app.callback()
def group() -> None:
    """Measure painters and CLIPs."""

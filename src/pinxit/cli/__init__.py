"""The command line: verbs only. Each verb parses its options, wires the parts and calls them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pinxit import __version__
from pinxit.cli import audit, classify, complete, data, eval, paint, probe, recipes, search, train
from pinxit.errors import PinxitError

app = typer.Typer(
    name="pinxit",
    help="Type a sentence, get a picture; train your own painter; measure it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("paint")(paint.paint)
app.command("complete")(complete.complete)
app.command("recipes")(recipes.recipes)
app.command("classify")(classify.classify)
app.command("probe")(probe.probe)
app.command("audit")(audit.audit)
app.add_typer(search.app, name="search")
app.add_typer(train.app, name="train")
app.add_typer(eval.app, name="eval")
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pinxit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Type a sentence, get a picture; train your own painter; measure it."""


def main() -> None:
    """Run the command line; a PinxitError is printed as its one sentence, Ctrl-C exits with 130."""
    try:
        app()
    except PinxitError as error:
        typer.echo(f"pinxit: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)

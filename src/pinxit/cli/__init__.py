"""The command line: verbs only. Each verb parses its options, wires the parts and calls them."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from pinxit import __version__
from pinxit.cli import (
    audit,
    blend,
    classify,
    complete,
    data,
    edit,
    eval,
    export,
    paint,
    plan,
    probe,
    recipes,
    reconstruct,
    search,
    serve,
    shift,
    train,
    vary,
)
from pinxit.cli.empty_paths import refuse_empty_paths
from pinxit.cli.help import flow
from pinxit.errors import PinxitError
from pinxit.texts import printable

_AT_HOME = re.compile(r"(--[a-z-]+=)(~(?:/.*)?)", re.DOTALL)
"""Words in which shells leave ~ as it is, and the folder "~" would be made: `--out=~/there`."""
_NO_ROOM = re.compile(
    "failed to map segment"  # of a library, by the loader
    "|can't allocate memory|Storage size calculation overflowed"  # on a CPU, by torch
    "|CUDA out of memory|CUDA error: out of memory"
)
"""What other libraries say where there is too little memory or address space, in place of a MemoryError."""

app = typer.Typer(
    name="pinxit",
    help="Type a sentence, get a picture; train your own painter; measure it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("paint")(paint.paint)
app.command("complete")(complete.complete)
app.command("edit")(edit.edit)
app.command("vary")(vary.vary)
app.command("blend")(blend.blend)
app.command("shift")(shift.shift)
app.command("reconstruct")(reconstruct.reconstruct)
app.command("serve")(serve.serve)
app.command("recipes")(recipes.recipes)
app.command("plan")(plan.plan)
app.command("export")(export.export)
app.command("classify")(classify.classify)
app.command("probe")(probe.probe)
app.command("audit")(audit.audit)
app.add_typer(search.app, name="search")
app.add_typer(train.app, name="train")
app.add_typer(eval.app, name="eval")
app.add_typer(data.app, name="data")
flow(app)
refuse_empty_paths(app)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"pinxit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Type a sentence, get a picture; train your own painter; measure it."""


def _leave(code: int) -> None:
    """Exit. If stdout cannot be flushed it is redirected, or the interpreter would try again and print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def main() -> None:
    """Run the command line; a PinxitError is printed as its one sentence, Ctrl-C exits with 130."""
    _open_streams()
    sys.argv[1:] = [_expanded(word) for word in sys.argv[1:]]
    try:
        _check_place()
        app()
    except PinxitError as error:
        typer.echo(f"pinxit: {printable(error)}", err=True)
        _leave(error.exit_code)
    except OSError as error:
        told = _sentence(error)
        if told is None:
            raise
        typer.echo(f"pinxit: {told}", err=True)
        _leave(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except (MemoryError, RuntimeError, ImportError) as error:
        if isinstance(error, RuntimeError) and _of_another_rank(error):
            told = "another rank has ended, and says why; the same command goes on from the last save."
        elif isinstance(error, MemoryError) or _NO_ROOM.search(str(error)):
            told = "this needs more memory than the machine has, or than it may use: ask for less at once."
        else:
            raise
        typer.echo(f"pinxit: {told}", err=True)
        _leave(1)


def _expanded(word: str) -> str:
    found = _AT_HOME.fullmatch(word)
    return word if found is None else found[1] + os.path.expanduser(found[2])  # noqa: PTH111


def _open_streams() -> None:
    """Let standard streams that the caller closed read nothing and write nowhere: to Python they are None.

    Before any file is opened, or that file would get the number of the stream, and what C code prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


def _check_place() -> None:
    """Raise PinxitError where the current folder was removed: torch's libraries end the process there, saying other."""
    try:
        Path.cwd()
    except OSError as error:
        raise PinxitError("the folder that you work in is gone: change to one that is there.") from error


def _sentence(error: OSError) -> str | None:
    """What to tell of an error that no command foresees; None for one that no user can mend."""
    if error.filename is not None:  # a path that cannot even be looked at: too long a name, a folder closed to the user
        return f"cannot use {printable(error.filename)[:200]}: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return f"cannot write the output: {error.strerror}."
    return None


def _of_another_rank(error: RuntimeError) -> bool:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return False
    from pinxit.training.parallel import is_lost_rank

    return is_lost_rank(error)

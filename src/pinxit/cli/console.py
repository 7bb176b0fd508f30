"""Printing for commands: safe for any terminal and any program, whatever names users' files have."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from pinxit.errors import PinxitError
from pinxit.files import to_json
from pinxit.texts import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text


def print_lines(*lines: str) -> None:
    """Print lines on stdout; control characters, and those that its encoding does not have, are escaped."""
    _write("\n".join(_encodable(printable(line)) for line in lines))


def print_json(value: Any) -> None:
    """Print one line of JSON on stdout, in plain ASCII if its encoding does not have all characters."""
    line = to_json(value)
    _write(line if _encodable(line) == line else json.dumps(value))


def print_rich(on: Console, shown: RenderableType) -> None:
    """Print a table on stdout, as wide as it is; characters that its encoding does not have are escaped."""
    with on.capture() as captured:
        on.print(shown, crop=False)
    _write(_encodable(captured.get().removesuffix("\n")))


def plain(text: str) -> Text:
    """Users' text for a table: never parsed as markup, control characters escaped."""
    from rich.text import Text

    return Text(printable(text))


def warn(line: str) -> None:
    """Print a line on stderr."""
    typer.echo(printable(line), err=True)


def _encodable(line: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _write(text: str) -> None:
    """Print and flush. Raises PinxitError when stdout cannot be written; a closed pipe stays a BrokenPipeError."""
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PinxitError(f"cannot write the output: {error.strerror or error}.") from error

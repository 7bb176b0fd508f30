"""What a command prints: lines that any terminal and any program can take, whatever users call their files."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer

from pinxit.errors import PinxitError
from pinxit.files import to_json
from pinxit.texts import printable


def print_lines(*lines: str) -> None:
    """Print lines on stdout: what a terminal would obey, or its encoding cannot hold, is escaped."""
    _write("\n".join(_encodable(printable(line)) for line in lines))


def print_json(value: Any) -> None:
    """Print one line of JSON on stdout, in plain ASCII where its encoding holds no more."""
    line = to_json(value)
    _write(line if _encodable(line) == line else json.dumps(value))


def warn(line: str) -> None:
    """Print a line on stderr."""
    typer.echo(printable(line), err=True)


def _encodable(line: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def _write(text: str) -> None:
    """Raises PinxitError when stdout cannot be written; nobody reading any more is no error."""
    try:
        typer.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PinxitError(f"cannot write the output: {error.strerror or error}.") from error

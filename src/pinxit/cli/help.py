"""Help texts as terminals of any width show them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import typer


def flow(app: typer.Typer) -> None:
    """Let the paragraphs of all help flow: those of docstrings are broken for the source, at 120 characters."""
    for command in app.registered_commands:
        command.help = _flowing(command.help, command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            flow(group.typer_instance)


def _flowing(text: str | None, verb: Callable[..., Any] | None) -> str:
    """The help without breaks within paragraphs; indented lines, which are lists and examples, stay as they are."""
    lines = inspect.cleandoc(text or getattr(verb, "__doc__", None) or "").split("\n")
    found = lines[:1]
    for before, line in pairwise(lines):
        if before and line and not before.startswith(" ") and not line.startswith(" "):
            found[-1] += f" {line}"
        else:
            found.append(line)
    return "\n".join(found)

"""Refuses empty paths, as of a shell's variable that is not set: pathlib takes them for the current folder."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from pinxit.errors import UsageError


class PathsNamed(TyperCommand):
    """A command whose paths must not be empty."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Also raises UsageError for an empty path."""
        written, _, _ = self.make_parser(ctx).parse_args(list(args))  # as text: a `Path` does not tell "" from "."
        rest = super().parse_args(ctx, args)
        paths = _paths(self.callback)
        for param in self.params:
            if param.name in paths and "" in _listed(written.get(param.name)):
                what = param.opts[0] if param.opts[0].startswith("-") else param.opts[0].upper()
                raise UsageError(f"{what} is empty: name a file or a folder; the current folder is '.'.")
        return rest


def refuse_empty_paths(app: typer.Typer) -> None:
    """Let all commands be `PathsNamed`."""
    for command in app.registered_commands:
        command.cls = PathsNamed
    for group in app.registered_groups:
        if group.typer_instance is not None:
            refuse_empty_paths(group.typer_instance)


def _paths(verb: Any) -> set[str]:
    """The parameters of a command that are paths, or lists of them."""
    hints = typing.get_type_hints(inspect.unwrap(verb))
    return {name for name, hint in hints.items() if Path in (hint, *typing.get_args(hint))}


def _listed(words: Any) -> list[Any]:
    return list(words) if isinstance(words, list | tuple) else [words]

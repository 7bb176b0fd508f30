"""Errors for users: the message is one clear sentence that names the thing, what is wrong and the fix."""

from __future__ import annotations


def install(extra: str) -> str:
    """The command that brings an extra, for messages; it also works where pinxit runs from a clone uninstalled."""
    return f'pip install -c constraints.txt ".[{extra}]" in a clone of pinxit'


class PinxitError(Exception):
    """Something the user can mend. The command line prints the message and exits with `exit_code`."""

    exit_code = 1


class UsageError(PinxitError):
    """The request itself is wrong (an empty prompt, an option out of range)."""

    exit_code = 2


class FieldError(UsageError, ValueError):
    """Fields of a config do not fit each other. As a ValueError it gets the section's name where one is read."""


class CheckpointError(PinxitError):
    """A checkpoint is missing, truncated, of another format, or not a checkpoint at all."""


class DataError(PinxitError):
    """Training or input data cannot be read."""

"""Settings of painters on the command line: `--set NAME=VALUE`, besides options for the most frequent ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.config import parse_value
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting of the painter, e.g. guidance=7 or steps=50; may be repeated. "
        "`pinxit recipes --settings NAME` lists a painter's settings.",
    ),
]


def settings_of(changes: Sequence[str] | None, **options: Any) -> dict[str, Any]:
    """ "guidance=7" as {"guidance": 7}, numbers and words alike, together with those `options` that are not None.

    Raises UsageError for a setting that is given twice.
    """
    settings = {name: value for name, value in options.items() if value is not None}
    for change in changes or ():
        name, text = split_setting(change, "--set", "VALUE")
        if name in settings:
            other = f"--{name}" if options.get(name) is not None else "one --set"
            raise UsageError(f"{name} is given twice: leave out {other} or --set {change}.")
        settings[name] = value_of(text)
    return settings


def split_setting(change: str, option: str, form: str) -> tuple[str, str]:
    """Name and value of "NAME=VALUE". Raises UsageError, naming the option, for anything else."""
    name, equals, text = change.partition("=")
    if not equals:
        raise UsageError(f"{option} {change}: write NAME={form}{'' if form.endswith('.') else '.'}")
    return name, text


def value_of(text: str) -> Any:
    """The JSON value that a text is, or else the text itself; no setting can be null, so that is a text, too."""
    value = parse_value(text)
    return text if value is None else value


def resolve_settings(given: Mapping[str, Any], painter: Painter, upsampler: Upsampler | None = None) -> dict[str, Any]:
    """All settings of the painter, overridden by those given; the rest of these must be the upsampler's.

    Raises UsageError for anything that would be refused later, before painting, which may take hours, begins.
    """
    from pinxit.recipes.diffusion.upsampler import SETTINGS
    from pinxit.recipes.painting import check_known

    enlarging = {} if upsampler is None else upsampler.defaults
    if unused := [name for name in given if name in SETTINGS and name not in enlarging]:
        reason = "only `eval sweep --upscale` and `paint --upscale` enlarge pictures"
        raise UsageError(f"{unused[0]} is a setting of the upsampler: {reason}.")
    check_known(given, [*painter.defaults, *enlarging])
    if upsampler is not None:
        upsampler.tuned(given)
    return painter.settled({name: value for name, value in given.items() if name not in enlarging})

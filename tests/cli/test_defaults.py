"""What holds where an option is left out changes on purpose: with this test's list, and with what documents say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main

from pinxit.cli import app
from tests.cli.test_options import commands
from tests.golden import golden

LIST = Path(__file__).parent / "defaults.json"


def told(param: Any) -> str:
    """The default, and from where to where numbers go."""
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    value = getattr(param.default, "value", param.default)
    return f"{value}" if low is None and high is None else f"{value}, from {low} to {high}"


def test_defaults_and_limits_of_every_option() -> None:
    found: dict[str, dict[str, str]] = {}
    for name, command in commands(typer.main.get_command(app)):
        found[name] = {param.opts[0]: told(param) for param in command.params if param.param_type_name == "option"}
    for name, options in golden(LIST, lambda: found).items():
        assert {option: value for option, value in found[name].items() if option in options} == options, name

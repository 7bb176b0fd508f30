"""Numbers that hold where nobody says another change on purpose: with this test's list."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import pinxit
from tests.conftest import make_brief
from tests.golden import golden

pytest.importorskip("transformers")
LIST = Path(__file__).parent / "defaults.json"
ROOMS = ("functional", "models", "pipelines", "training", "evaluation", "recipes", "weights")


def plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(plain, value))
    return isinstance(value, bool | int | float | str) and not isinstance(value, Enum)


def defaults(thing: Any) -> Iterator[tuple[str, Any]]:
    """The arguments of a function, the fields of a dataclass."""
    if dataclasses.is_dataclass(thing):
        yield from ((field.name, field.default) for field in dataclasses.fields(thing))
    else:
        yield from ((name, one.default) for name, one in inspect.signature(thing).parameters.items())


def methods(of: type) -> dict[str, Any]:
    found: dict[str, Any] = {f".{key}": one for key, one in vars(of).items() if inspect.isfunction(one)}
    if dataclasses.is_dataclass(of):
        found.pop(".__init__", None)
        found[""] = of
    return found


def constants(module: Any) -> dict[str, str]:
    """The module's own; functions inside them by their names."""
    assigned = [one for one in ast.parse(inspect.getsource(module)).body if isinstance(one, ast.Assign | ast.AnnAssign)]
    names = {name.id for one in assigned for name in ast.walk(one) if isinstance(name, ast.Name)}
    held = {name: value for name, value in vars(module).items() if name in names and name.strip("_").isupper()}
    return {name: re.sub(r" at 0x\w+", "", repr(value)) for name, value in held.items() if settled(value)}


def settled(value: Any) -> bool:
    """Numbers, and whatever is put together of some; texts change for good reasons."""
    if isinstance(value, tuple | list | dict):
        return len(value) < 100 and any(map(settled, value.values() if isinstance(value, dict) else value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(settled(getattr(value, field.name)) for field in dataclasses.fields(value))
    return isinstance(value, int | float) and not isinstance(value, Enum)


def told(module: Any) -> dict[str, dict[str, str]]:
    """By function and class, those of their defaults that are numbers or texts; and the module's own numbers."""
    found = {"": own} if (own := constants(module)) else {}
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__ or not callable(thing):
            continue
        for key, one in (methods(thing) if inspect.isclass(thing) else {"": thing}).items():
            try:
                held = {argument: repr(value) for argument, value in defaults(one) if plain(value)}
            except (TypeError, ValueError):  # what typing makes has no signature
                continue
            if held:
                found[f"{name}{key}"] = held
    return found


MODULES = [
    module.name
    for room in ROOMS
    for module in pkgutil.walk_packages([str(Path(pinxit.__path__[0]) / room)], f"pinxit.{room}.")
]


def test_defaults_of_functions_and_fields(brief_trainings: pytest.MonkeyPatch) -> None:
    brief_trainings.undo()
    try:
        compare_defaults()
    finally:
        make_brief(brief_trainings)


def compare_defaults() -> None:
    every = ((module, told(importlib.import_module(module))) for module in MODULES)
    found = {f"{module.removeprefix('pinxit.')}.{name}": held for module, one in every for name, held in one.items()}
    expected = golden(LIST, lambda: found)
    here = [name for name, listed in expected.items() if listed.keys() & found.get(name, {}).keys()]
    for name in here:  # what is gone or new asks for no new list
        there = {argument: value for argument, value in found[name].items() if argument in expected[name]}
        assert there == {argument: value for argument, value in expected[name].items() if argument in there}, name
    assert len(here) > 0.8 * len(expected), "write it anew"

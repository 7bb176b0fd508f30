"""Reference libraries that do not import everywhere, opened as far as a comparison needs them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

STAND_INS = ("", ".ops", ".ops.misc", ".transforms", ".transforms.functional")


class _Named(type):
    """A class whose attributes are their own names: `InterpolationMode.BICUBIC`."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Anything(ModuleType):
    """A module that has every name; what is named cannot be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Named(name, (), {})


def open_clip() -> Any:
    """open_clip's module, or ImportError when it is not installed.

    It imports torchvision for its training pictures alone; where that does not import (there is none for every torch),
    empty modules stand in for it.
    """
    try:
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError) as error:
        if "torchvision" not in str(error):
            raise ImportError(str(error)) from error
    importlib.import_module("transformers")  # which asks whether there is a torchvision, so it comes first
    names = [f"torchvision{name}" for name in STAND_INS]
    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "open_clip", "timm")]:
        del sys.modules[name]
    for name in names:
        sys.modules[name] = _Anything(name)
        owner, _, leaf = name.rpartition(".")
        if owner:
            setattr(sys.modules[owner], leaf, sys.modules[name])
    try:
        return importlib.import_module("open_clip")
    finally:
        for name in names:
            del sys.modules[name]

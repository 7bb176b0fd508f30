"""Presets change on purpose: with this test's list, and with what documents and model cards say of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.golden import golden

pytest.importorskip("transformers")
from pinxit.config import to_dict
from pinxit.models.unet_shapes import PUBLISHED as UNETS
from pinxit.recipes.classifier import ClassifierConfig
from pinxit.recipes.clip import presets as clip
from pinxit.recipes.dalle import presets as dalle
from pinxit.recipes.imagen import presets as imagen
from pinxit.recipes.judge.judge import config_for
from pinxit.recipes.unclip import presets as unclip
from pinxit.world.vocabulary import PRESETS as WORLDS

LIST = Path(__file__).parent / "golden" / "presets.json"
NAMED: dict[str, tuple[Callable[[str], Any], list[str]]] = {
    "clip": (clip.preset, [*clip.PRESETS, "ViT-B/32"]),
    "dalle": (dalle.preset, [*dalle.PRESETS]),
    "imagen": (imagen.preset, [*imagen.PRESETS]),
    "unclip": (unclip.preset, [*unclip.PRESETS]),
    "judge": (config_for, [*WORLDS]),
    "classifier": (lambda name: ClassifierConfig(), ["usual"]),
    "unet": (UNETS.__getitem__, [*UNETS]),
}
EVERY = {f"{recipe}/{name}": (make, name) for recipe, (make, names) in NAMED.items() for name in names}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """{"a": [{"b": 1}]} as {"a.0.b": 1}; a list of plain values stays one."""
    if isinstance(value, list) and not any(isinstance(one, dict) for one in value):
        return {name: value if len(value) < 20 else [len(value), *value[:3]]}  # vocabularies have tests of their own
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {name: value}
    return {path: one for key, inner in value.items() for path, one in flat(inner, f"{name}.{key}".strip(".")).items()}


def told(name: str) -> dict[str, Any]:
    make, preset = EVERY[name]
    found: dict[str, Any] = json.loads(json.dumps(flat(to_dict(make(preset)))))
    return found


@pytest.mark.parametrize("name", EVERY)
def test_every_number_of_every_preset(name: str) -> None:
    expected, found = golden(LIST, lambda: {one: told(one) for one in EVERY})[name], told(name)
    assert {key: found.get(key) for key, value in expected.items() if found.get(key, "gone") != value} == {}

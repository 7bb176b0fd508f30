"""What a config.json leaves out is what diffusers takes there: every default of ours is that of the class."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest

from pinxit.weights import deepfloyd_names, karlo_settings
from tests.weights.karlos import diffusers, unclip

UNET, SUPER, PRIOR = diffusers.UNet2DConditionModel, diffusers.UNet2DModel, diffusers.PriorTransformer
FIXED = [  # tables of a field's default and what it may be
    (UNET, deepfloyd_names._FIXED),
    (PRIOR, karlo_settings._PRIOR_FIXED),
    (UNET, karlo_settings._DECODER_FIXED),
    (SUPER, karlo_settings._SUPER_FIXED),
]
DEFAULTS = [
    (UNET, deepfloyd_names._DEFAULTS),
    (PRIOR, karlo_settings._PRIOR_DEFAULTS),
    (UNET, karlo_settings._UNET_DEFAULTS),
    (SUPER, {name: value for name, value in karlo_settings._UNET_DEFAULTS.items() if "dim" not in name}),
    (
        unclip.UnCLIPTextProjModel,
        {name: value for name, value in karlo_settings._PROJECTION_DEFAULTS.items() if name.startswith("clip")},
    ),
]


def theirs(kind: type, names: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    return {name: parameters[name].default for name in names}


@pytest.mark.parametrize(("kind", "table"), FIXED)
def test_fields_that_are_fixed(kind: type, table: Mapping[str, tuple[Any, ...]]) -> None:
    ours = {name: values[0] for name, values in table.items() if name != "_class_name"}
    assert ours == theirs(kind, ours)
    assert table["_class_name"] == (None, kind.__name__) and all(len(values) > 1 for values in table.values())


@pytest.mark.parametrize(("kind", "table"), DEFAULTS)
def test_fields_that_our_networks_can_differ_in(kind: type, table: Mapping[str, Any]) -> None:
    assert table == theirs(kind, table)

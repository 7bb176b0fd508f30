"""What older versions wrote opens under today's names; the table names fields that there are."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from pinxit.config import from_dict, override, to_dict
from pinxit.errors import UsageError
from pinxit.models.unet_config import UNetConfig
from pinxit.old_names import RENAMED
from pinxit.recipes.dalle.config import DalleConfig, NoiseConfig
from pinxit.recipes.dalle.presets import nano, tiny
from pinxit.recipes.diffusion.config import SamplingConfig, Stage, StageConfig
from pinxit.recipes.imagen import presets as imagen
from pinxit.training.plan import Plan

KINDS = (DalleConfig, NoiseConfig, Plan, SamplingConfig, Stage, StageConfig, UNetConfig)


def test_the_table_leads_from_names_that_are_gone_to_fields() -> None:
    assert {kind.__name__ for kind in KINDS} == RENAMED.keys()
    for kind in KINDS:
        known = {one.name for one in fields(kind)}
        assert known >= set(RENAMED[kind.__name__].values()) and not known & RENAMED[kind.__name__].keys()


def test_old_json_of_a_dalle() -> None:
    config = tiny()
    data = to_dict(config)
    data["alike"] = data.pop("codebook_init")
    data["noise"]["worn"], data["noise"]["redrawn"] = data["noise"].pop("corrupted"), data["noise"].pop("reconstructed")
    assert from_dict(DalleConfig, data) == config
    with pytest.raises(UsageError, match="'worm'"):
        from_dict(DalleConfig, data | {"worm": True})


def test_old_json_of_a_cascade() -> None:
    """Down to a section in a list."""
    config = imagen.tiny()
    data = to_dict(replace(config, sampling=replace(config.sampling, max_threshold=1.5)))
    data["sampling"]["most"] = data["sampling"].pop("max_threshold")
    for stage in data["stages"]:
        stage["noisiest"] = stage.pop("max_augmentation")
        stage["unet"]["reading"] = stage["unet"].pop("refiner_layers")
    opened = from_dict(type(config), data)
    assert opened.stages == config.stages and opened.sampling.max_threshold == 1.5
    assert {stage.unet.refiner_layers for stage in opened.stages} == {0, 2}


def test_old_dotted_changes() -> None:
    later = override(nano(), ["plans.clip.decayed=512"])
    assert later.plans.clip.decay_horizon == 512
    changed = override(nano(), ["alike=true", "noise.worn=true", "noise.redrawn=0.25"])
    assert (changed.codebook_init, changed.noise.corrupted, changed.noise.reconstructed) == (True, True, 0.25)
    cascade = override(imagen.nano(), ["stages.base.unet.reading=1", "stages.upsampler.noisiest=0.5"])
    assert cascade.stage("base").unet.refiner_layers == 1 and cascade.stage("upsampler").max_augmentation == 0.5

"""The command of a model card makes the config that it is printed for."""

from __future__ import annotations

import shlex
from dataclasses import replace

from pinxit.config import override
from pinxit.recipes.command import command
from pinxit.recipes.dalle.config import DalleConfig
from pinxit.recipes.dalle.presets import PRESETS, preset, tiny


def understood(line: str) -> tuple[DalleConfig, dict[str, str]]:
    """The config that `pinxit train dalle` would make of the line, and its other options."""
    program, train, recipe, *words = shlex.split(line)
    assert (program, train, recipe) == ("pinxit", "train", "dalle")
    options = list(zip(words[::2], words[1::2], strict=True))
    named = {name: value for name, value in options if name != "--set"}
    changes = [f"data.source={named['--data']}", *(value for name, value in options if name == "--set")]
    return override(preset(named["--preset"]), changes), named


def test_a_preset_needs_nothing_more() -> None:
    for name, build in PRESETS.items():
        line = command("dalle", build(), PRESETS)
        assert line == f"pinxit train dalle --preset {name} --data {build().data.source} --out RUN"


def test_whatever_differs_is_set() -> None:
    changes = ["data.source=my pictures/{a,b}.tar", "seed=3", "plans.clip.betas=[0.9, 0.95]", "transformer.depth=6"]
    config = override(tiny(), [*changes, "alike=false", "dvae.ln_b_floor=-3", "clip.vision.stages=[2]", "store=bf16"])
    config = replace(config, data=replace(config.data, sidecars="7"))
    found, named = understood(command("dalle", config, PRESETS, start="CHECKPOINT"))
    assert found == config
    assert named["--preset"] == "tiny" and named["--init-from"] == "CHECKPOINT" and named["--out"] == "RUN"

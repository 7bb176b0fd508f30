"""Imagen's presets, and configs whose parts do not fit: refused in one sentence before anything is drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pinxit.config import from_dict, override, to_dict
from pinxit.errors import UsageError
from pinxit.models.text import TextTransformer, TextTransformerConfig
from pinxit.models.unet_shapes import PUBLISHED
from pinxit.recipes.estimate import cost_of
from pinxit.recipes.imagen.config import ImagenConfig, SamplingConfig, TextConfig
from pinxit.recipes.imagen.estimate import stage, table
from pinxit.recipes.imagen.presets import PRESETS, nano, preset
from pinxit.recipes.imagen.run import ImagenRun


@pytest.mark.parametrize("name", PRESETS)
def test_presets_round_trip_and_can_be_overridden(name: str) -> None:
    found = preset(name)
    assert from_dict(ImagenConfig, to_dict(found)) == found
    assert override(found, ["base.unet.dropout=0.1"]).base.unet.dropout == 0.1


@pytest.mark.parametrize("name", PRESETS)
def test_upsamplers_learn_on_crops_where_they_look_at_no_far_place(name: str) -> None:
    found = preset(name)
    for network in map(found.network, found.cascade[1:]):
        assert bool(network.crop) != network.unet.self_attention


def test_the_papers_preset_has_the_papers_numbers() -> None:
    """Sections 2 and 4.1 and appendix F, but for what its docstring names."""
    found = preset("paper")
    assert (found.base.unet, found.upsampler.unet) == (PUBLISHED["imagen-base-64"], PUBLISHED["imagen-super-256"])
    assert (found.base.size, found.upsampler.low, found.upsampler.size) == (64, 64, 256)
    last = found.second_upsampler
    assert last is not None and last.unet == PUBLISHED["imagen-super-1024"]
    assert (last.low, last.size, last.crop) == (256, 1024, 256)
    assert (found.text.encoder, found.text.drop) == ("hub:google/t5-v1_1-xxl", 0.1)
    for name in found.cascade:
        plan, about = getattr(found.plans, name), getattr(found, name)
        assert (plan.lr, plan.final_lr, plan.schedule, plan.betas, plan.eps) == (1e-4, 0, "cosine", (0.9, 0.999), 1e-8)
        assert (plan.optimiser, plan.decay, plan.batch) == ("adamw", 0, 2048)
        assert (plan.images / plan.batch, plan.warmup / plan.batch) == (2_500_000, 10_000)
        assert (about.diffusion.prediction, about.diffusion.schedule) == ("eps", "cosine")
        assert (about.unet.text, about.unet.dropout) == (4096, 0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ("base.size=60", "upsampler.low=60", "upsampler.size=240", "upsampler.crop=0"),
            "a base's size=60 must be a multiple of 8, which its unet divides by",
        ),
        (("upsampler.size=272",), "an upsampler's size=272 must be a multiple of low=64"),
        (("upsampler.crop=20",), "an upsampler's crop=20 must be a multiple of 16"),
        (("upsampler.crop=-16",), "upsampler.crop must be at least 0, not -16."),
        (("base.size=0",), "base.size must be at least 1, not 0."),
        (("upsampler.low=256",), "size=256 must be a multiple of low=256, and more than it"),
        (("upsampler.low=-64",), "upsampler.low must be at least 0, not -64."),
        (("upsampler.low=32",), "upsampler.low=32 must equal base.size=64: set both"),
        (
            ("upsampler.unet.low_res=0",),
            "an upsampler (low=64) cannot have unet.low_res=0 and unet.augmentation=true: make unet.low_res=3 and",
        ),
        (("upsampler.unet.augmentation=false",), "cannot have unet.low_res=3 and unet.augmentation=false"),
        (("base.unet.low_res=3",), "a base (low=0) cannot have unet.low_res=3 and unet.augmentation=false: make them"),
        (("base.unet.augmentation=true",), "a base (low=0) cannot have unet.low_res=0 and unet.augmentation=true"),
        (("upsampler.unet.outputs=6",), "upsampler.unet.outputs=6 must be 3"),
        (("base.unet.inputs=4",), "base.unet.inputs=4 must be 3"),
        (("text.drop=1.5",), "text.drop must be from 0 to 1, not 1.5."),
        (("text.drop=-0.1",), "text.drop must be from 0 to 1, not -0.1."),
        (("text.noise=-1",), "text.noise must be at least 0 and finite, not -1."),
        (("data.names=all",), "data.names"),
        (("text.length=1",), "text.length must be at least 2, not 1."),
        (("text.stored=-1",), "text.stored must be at least 0, not -1."),
        (
            ("upsampler.noisiest=0.05",),
            "augmentation=0.1 is more noise than this upsampler has learned on; take at most",
        ),
        (("upsampler.noisiest=1.5",), "upsampler.noisiest must be from 0 to 1, not 1.5."),
        (("sampling.augmentation=2",), "augmentation must be from 0 to 1, not 2."),
        (("sampling.steps=0",), "steps must be from 1 to 1000, not 0."),
        (("sampling.upsampler_steps=1001",), "upsampler_steps must be from 1 to 1000, not 1001."),
        (("sampling.guidance=-1",), "guidance must be at least 0 and finite, not -1."),
        (("sampling.upsampler_guidance=Infinity",), "upsampler_guidance must be at least 0 and finite, not inf."),
        (("sampling.guidance=NaN",), "guidance must be at least 0 and finite, not nan."),
        (("sampling.sampler=magic",), "there is no sampler 'magic'; choose from ancestral, ddim"),
        (("sampling.percentile=99.5",), "percentile must be from 0 to 1, not 99.5."),
    ],
)
def test_configs_that_do_not_fit_are_refused(changes: Sequence[str], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as refused:
        override(preset("tiny"), changes)
    assert str(refused.value).endswith(".")


def no_network(*_: object, **__: object) -> None:
    raise AssertionError("a dry run opens no text encoder")


def test_the_papers_preset_is_counted_without_its_text_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both networks have as many parameters as `models.unet_shapes` says, found on tensors without data."""
    monkeypatch.setattr("pinxit.text.encoders.open_text_encoder", no_network)
    monkeypatch.setattr("pinxit.weights.hub.fetch", no_network)
    told = table(ImagenRun(tmp_path / "run", preset("paper"), "cpu"))
    assert "base  2,305,382,403" in told and "upsampler    588,913,283" in told
    assert "second_upsampler    580,516,483" in told
    assert not (tmp_path / "run").exists()


def test_a_reader_that_is_learned_is_counted_with_the_base() -> None:
    learned = TextTransformerConfig(vocab=512, tokens=32, width=384, layers=2, heads=4)
    frozen, taught = nano(), replace(nano(), text=TextConfig("learned", learned, length=32))
    more = sum(parameter.numel() for parameter in TextTransformer(learned).parameters())
    for name in taught.cascade:
        one, other = (cost_of(stage(config, name), torch.device("cpu")) for config in (frozen, taught))
        assert other.parameters - one.parameters == (more if name == "base" else 0)
        assert (other.flops > one.flops) == (name == "base")


def test_a_dry_run_tells_of_the_stages_that_are_asked_for(tmp_path: Path) -> None:
    run = ImagenRun(tmp_path / "run", nano(), "cpu")
    told = table(run, ("base",))
    assert "base" in told and "upsampler" not in told and "disk" not in told
    assert "96 stored pictures" in table(run, ("pictures",))
    with pytest.raises(UsageError, match="there is no stage 'bass'"):
        table(run, ("bass",))


def test_settings_given_from_python_have_kinds() -> None:
    for wrong in ({"steps": 2.5}, {"steps": True}, {"guidance": "4"}, {"percentile": None}, {"grid": "square"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            SamplingConfig(**wrong)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UsageError, match=r"must equal base\.size"):
        replace(nano(), upsampler=replace(nano().upsampler, low=8))
    with pytest.raises(UsageError, match="no preset 'huge' of imagen"):
        preset("huge")

"""Imagen's presets, and configs whose parts do not fit: refused in one sentence before anything is drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from pinxit.config import from_dict, override, to_dict
from pinxit.errors import UsageError
from pinxit.models.text import TextTransformer, TextTransformerConfig
from pinxit.models.unet import UNetConfig
from pinxit.models.unet_shapes import PUBLISHED
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig, TextEncoderConfig
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.estimate import cost_of
from pinxit.recipes.imagen.config import ImagenConfig
from pinxit.recipes.imagen.estimate import stage, table
from pinxit.recipes.imagen.open import networks
from pinxit.recipes.imagen.presets import PRESETS, changed, nano, preset
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.unclip.config import UnclipConfig
from pinxit.recipes.unclip.presets import preset as unclip
from pinxit.training.flops import Cost
from pinxit.training.plan import Batch, Plan, Task
from pinxit.training.runs import FILE, config_of, enter
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.zoo import find


@pytest.mark.parametrize("name", PRESETS)
def test_presets_round_trip_and_can_be_overridden(name: str) -> None:
    found = preset(name)
    assert from_dict(ImagenConfig, to_dict(found)) == found
    assert override(found, ["stages.base.unet.dropout=0.1"]).stages[0].unet.dropout == 0.1


@pytest.mark.parametrize("name", PRESETS)
def test_upsamplers_learn_on_crops_where_they_look_at_no_far_place(name: str) -> None:
    found = preset(name)
    for network in found.stages[1:]:
        assert bool(network.crop) != network.unet.self_attention


def test_the_papers_preset_has_the_papers_numbers() -> None:
    """Sections 2 and 4.1 and appendix F, but for what its docstring names."""
    found = preset("paper")
    base, upsampler, last = found.stages
    assert (base.unet, upsampler.unet) == (PUBLISHED["imagen-base-64"], PUBLISHED["imagen-super-256"])
    assert (base.size, upsampler.low, upsampler.size) == (64, 64, 256)
    assert last.unet == PUBLISHED["imagen-super-1024"]
    assert (last.low, last.size, last.crop) == (256, 1024, 256)
    assert (found.text.encoder, found.text.drop) == ("hub:google/t5-v1_1-xxl", 0.1)
    for about in found.stages:
        plan = about.plan
        assert (plan.lr, plan.final_lr, plan.schedule, plan.betas, plan.eps) == (1e-4, 0, "cosine", (0.9, 0.999), 1e-8)
        assert (plan.optimiser, plan.decay, plan.batch) == ("adamw", 0, 2048)
        assert (plan.images / plan.batch, plan.warmup / plan.batch) == (2_500_000, 10_000)
        assert (about.diffusion.prediction, about.diffusion.schedule) == ("eps", "cosine")
        assert (about.unet.text, about.unet.dropout) == (4096, 0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            ("stages.base.size=60", "stages.upsampler.low=60", "stages.upsampler.size=240", "stages.upsampler.crop=0"),
            "a base's size=60 must be a multiple of 8, which its unet divides by",
        ),
        (("stages.upsampler.size=272",), "an upsampler's size=272 must be a multiple of low=64"),
        (("stages.upsampler.crop=20",), "an upsampler's crop=20 must be a multiple of 16"),
        (("stages.upsampler.crop=-16",), "stages.upsampler.crop must be at least 0, not -16."),
        (("stages.base.name=5",), "stages[0].name must be text, not 5."),
        (("stages.base.size=0",), "stages.base.size must be at least 1, not 0."),
        (("stages.upsampler.low=256",), "size=256 must be a multiple of low=256, and more than it"),
        (("stages.upsampler.low=-64",), "stages.upsampler.low must be at least 0, not -64."),
        (("stages.upsampler.low=32",), "upsampler.low=32 must equal base.size=64: set both"),
        (
            ("stages.upsampler.unet.low_res=0",),
            "an upsampler (low=64) cannot have unet.low_res=0 and unet.augmentation=true: make unet.low_res=3 and",
        ),
        (("stages.upsampler.unet.augmentation=false",), "cannot have unet.low_res=3 and unet.augmentation=false"),
        (
            ("stages.base.unet.low_res=3",),
            "a base (low=0) cannot have unet.low_res=3 and unet.augmentation=false: make them",
        ),
        (
            ("stages.base.unet.augmentation=true",),
            "a base (low=0) cannot have unet.low_res=0 and unet.augmentation=true",
        ),
        (("stages.upsampler.unet.outputs=6",), "an upsampler's unet.outputs=6 must be 3, a picture's colours"),
        (("stages.base.unet.inputs=4",), "a base's unet.inputs=4 must be 3"),
        (
            ("stages.base.unet.text=0", "stages.base.unet.refiner_layers=0"),
            "base.unet.text must be the width of the text",
        ),
        (("stages.base.unet.image=64",), "base.unet.image must be 0: Imagen's networks are given none"),
        (("stages.upsampler.unet.masked=4",), "upsampler.unet.masked must be 0"),
        (("text.drop=1.5",), "text.drop must be from 0 to 1, not 1.5."),
        (("text.drop=-0.1",), "text.drop must be from 0 to 1, not -0.1."),
        (("text.noise=-1",), "text.noise must be at least 0 and finite, not -1."),
        (("data.names=all",), "data.names"),
        (("text.length=1",), "text.length must be at least 2, not 1."),
        (("text.stored=-1",), "text.stored must be at least 0, not -1."),
        (
            ("stages.upsampler.max_augmentation=0.05",),
            "augmentation=0.1 is more noise than this upsampler has learned on; take at most",
        ),
        (("stages.upsampler.max_augmentation=1.5",), "stages.upsampler.max_augmentation must be from 0 to 1, not 1.5."),
        (("sampling.augmentation=2",), "sampling.augmentation must be from 0 to 1, not 2."),
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


def parameters(task: Task, batch: Batch, plan: Plan, device: torch.device, native: bool) -> Cost:
    every = [tensor for module in task.modules().values() for tensor in module.parameters()]
    assert all(isinstance(tensor, FakeTensor) for tensor in (*every, *batch.values()))
    return Cost(sum(tensor.numel() for tensor in every if tensor.requires_grad), 1.0, 1.0)


def test_the_papers_preset_is_counted_without_its_text_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its networks have as many parameters as `models.unet_shapes` says, found on tensors without data.

    No step is traced, which takes ten seconds: that of `nano` is, below, and a forward pass in `test_unet`.
    """
    monkeypatch.setattr("pinxit.text.encoders.open_text_encoder", no_network)
    monkeypatch.setattr("pinxit.weights.hub.fetch", no_network)
    monkeypatch.setattr("pinxit.recipes.estimate.measure", parameters)
    told = table(ImagenRun(tmp_path / "run", preset("paper"), "cpu"))
    assert "base  2,305,382,403" in told and "upsampler    588,913,283" in told
    assert "second_upsampler    580,516,483" in told
    assert not (tmp_path / "run").exists()


def test_a_reader_that_is_learned_is_counted_with_the_base() -> None:
    learned = TextTransformerConfig(vocab=512, tokens=32, width=384, layers=2, heads=4)
    frozen, taught = nano(), replace(nano(), text=TextEncoderConfig("learned", learned, length=32))
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
        nano().changed("upsampler", low=8)
    with pytest.raises(UsageError, match="no preset 'huge' of imagen"):
        preset("huge")


OLD_NETWORK = {"size": 16, "unet": {"channels": [32, 64], "blocks": [1, 1], "attention": [False, True], "text": 384}}
OLD_PLAN = {"images": 512, "batch": 16}


def old_json(third: bool) -> dict[str, Any]:
    """What run.json held when the networks were fields by name."""
    large = {"size": 32, "low": 16, "unet": OLD_NETWORK["unet"] | {"low_res": 3, "augmentation": True}}  # type: ignore[operator]
    largest = large | {"size": 64, "low": 32}
    return {
        "data": {"source": "world:small", "pictures": 64, "large": 32, "largest": 20_000, "names": "usual"},
        "text": {"encoder": "minilm", "length": 32},
        "base": OLD_NETWORK | {"diffusion": {"prediction": "v", "shift": 3.0}},
        "upsampler": large,
        "second_upsampler": largest if third else None,
        "plans": {
            "base": OLD_PLAN,
            "upsampler": OLD_PLAN | {"images": 9},
            "second_upsampler": OLD_PLAN if third else None,
        },
        "seed": 4,
    }


@pytest.mark.parametrize("third", [False, True])
def test_json_of_named_networks_migrates(tmp_path: Path, third: bool) -> None:
    found = from_dict(ImagenConfig, old_json(third))
    assert found.cascade == ("base", "upsampler", "second_upsampler")[: 3 if third else 2]
    assert [stage.size for stage in found.stages] == [16, 32, 64][: len(found.stages)]
    assert [stage.pictures for stage in found.stages] == [64, 32, 20_000][: len(found.stages)]
    assert [stage.plan.images for stage in found.stages] == [512, 9, 512][: len(found.stages)]
    assert found.stages[0].diffusion.shift == 3 and found.data.source == "world:small" and found.seed == 4
    assert from_dict(ImagenConfig, to_dict(found)) == found
    (tmp_path / "run.json").write_text(json.dumps({"pinxit": "0.1.0", "recipe": "imagen", "config": old_json(third)}))
    assert config_of(tmp_path, "imagen", ImagenConfig) == found
    ImagenRun(tmp_path, found, "cpu", progress=False).enter()


OLDER_CARD = (
    "--set data.pictures=200000 --set data.large=16 --set plans.base.images=150000 "
    "--set plans.upsampler.images=0 --set seed=7"
)


def test_commands_that_older_model_cards_print_are_understood() -> None:
    """Those of the first checkpoint that shipped among them."""
    changes = [word for word in OLDER_CARD.split() if word != "--set"]
    found = changed(preset("tiny"), changes)
    assert (found.stages[0].plan.images, found.stages[0].pictures) == (150_000, 200_000)
    assert (found.stages[1].plan.images, found.stages[1].pictures) == (0, 16)
    assert changed(preset("tiny"), ["upsampler.unet.dropout=0.1"]).stages[1].unet.dropout == 0.1
    with pytest.raises(UsageError, match="no field 'dropped'"):
        changed(preset("tiny"), ["base.unet.dropped=1"])


def test_the_shipped_cascade_is_read_as_before() -> None:
    checkpoint = open_checkpoint(find("imagen-tiny"))
    found = networks(checkpoint)
    assert list(found) == ["base", "upsampler"] and [one.size for one in found.values()] == [64, 256]
    assert all(one.diffusion.variance == "fixed" and not one.diffusion.steps for one in found.values())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steps": 1}, "steps must be 0 or at least 2, not 1"),
        ({"steps": 1000, "shift": 2.0}, "takes no shift and no p_std"),
        ({"steps": 1000, "p_std": 1.0}, "takes no shift and no p_std"),
        ({"variance": "learned"}, "variance=learned needs prediction=eps, weight=own and the steps"),
        ({"variance": "learned", "steps": 1000, "prediction": "v"}, "variance=learned needs prediction=eps"),
        ({"schedule": "linear", "steps": 20}, "more than 20 steps"),
    ],
)
def test_schedules_that_cannot_be_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        DiffusionConfig(**changes)


def test_a_discrete_schedule_is_told_by_its_steps() -> None:
    """Training draws every step as often as the others, and the network hears the number of the one it meets."""
    about = DiffusionConfig("eps", steps=100)
    even = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert torch.bincount(about.timesteps(even)).tolist() == [10] * 100
    assert torch.equal(about.time_of(about.drawn(even)), about.timesteps(even).float())
    assert about.timesteps(torch.tensor([1.0])).item() == 99
    assert about.even_sigmas(25) == [*about.table.sigma[:100:4].flip(0).tolist(), 0.0]
    assert about.even_sigmas(60)[:2] == about.table.sigma[[98, 96]].tolist(), "from noise on, though 60 divides no 100"
    assert about.even_sigmas(31)[:2] == about.table.sigma[[90, 87]].tolist(), "whole strides, as diffusers counts"
    assert about.even_sigmas(3) == [*about.table.sigma[[66, 33, 0]].tolist(), 0.0]
    assert about.spaced_sigmas("1,1") == [*about.table.sigma[[50, 0]].tolist(), 0.0]
    with pytest.raises(UsageError, match="from 1 to 100, as many as the schedule has, not 101"):
        about.even_sigmas(101)
    with pytest.raises(UsageError, match="schedule is continuous: give steps"):
        DiffusionConfig().spaced_sigmas("smart50")
    with pytest.raises(UsageError, match=r"sampling\.spacing names timesteps"):
        override(preset("nano"), ["sampling.spacing=smart50"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["sampling.steps=101"], "sampling.steps=101 must be at most 100, as many as its network's schedule has."),
        (["sampling.grid=karras"], "sampling.grid=karras is of a continuous schedule, and the base's is discrete."),
        (["sampling.spacing=smart5"], "Spacing 'smart5' is not understood"),
        (
            ['stages.upsampler.diffusion={"steps": 30}', "sampling.upsampler_steps=31"],
            "sampling.upsampler_steps=31 must be at most 30",
        ),
    ],
)
def test_sampling_that_a_discrete_schedule_cannot_do_is_refused(changes: Sequence[str], told: str) -> None:
    """Before hours of training, and not by what was trained."""
    discrete = override(preset("nano"), ['stages.base.diffusion={"steps": 100}', "sampling.steps=100"])
    assert override(discrete, ["sampling.spacing=10,5,5", "sampling.steps=1000"]).sampling.steps == 1000
    with pytest.raises(UsageError, match=re.escape(told)):
        override(discrete, changes)


@pytest.mark.parametrize("kind", [ImagenConfig, UnclipConfig])
def test_a_run_that_was_begun_before_they_were_refused_goes_on(kind: Any, tmp_path: Path) -> None:
    """They could not even be corrected: what the run had was read, and refused, first."""
    config: Any = preset("nano") if kind is ImagenConfig else unclip("nano")
    enter(tmp_path, "it", config, {})
    run = json.loads((tmp_path / FILE).read_text())
    about = run["config"]
    base, *upsamplers = about["stages"] if kind is ImagenConfig else (about["decoder"], *about["upsamplers"])
    about["sampling"] |= {"grid": "karras", "steps": 101, "upsampler_steps": 31}
    base["corrupt"], base["diffusion"]["steps"] = "blur", 100
    for number, one in enumerate((*upsamplers, *about.get("priors", ()))):
        one["diffusion"]["steps"] = 30 - number
    (tmp_path / FILE).write_text(json.dumps(run))
    found = config_of(tmp_path, "it", kind)
    enter(tmp_path, "it", found, {"decoder": lambda: True, "stages": lambda: True})
    told = found.sampling
    assert (told.grid, told.steps, told.upsampler_steps) == ("even", 100, 31 - len(upsamplers))
    if isinstance(found, UnclipConfig):
        assert found.imagining.steps == min(config.imagining.steps, *(one.diffusion.steps for one in found.priors))
    for strange in ({"sampling": 3}, {"stages": 3, "decoder": 3}, {"stages": [], "upsamplers": [1]}):
        (tmp_path / FILE).write_text(json.dumps(run | {"config": about | strange}))
        with pytest.raises(UsageError):
            config_of(tmp_path, "it", kind)
    assert StageConfig(16, UNetConfig(text=8), corrupt="blur").corrupt == "blur", "a checkpoint's opens"


def test_a_learned_variance_needs_as_many_channels_again() -> None:
    with pytest.raises(UsageError, match=r"unet\.outputs=3 must be 6, a picture's colours and their learned"):
        override(preset("nano"), ['stages.base.diffusion={"variance": "learned", "steps": 1000}'])

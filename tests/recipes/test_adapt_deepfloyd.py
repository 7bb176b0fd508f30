"""DeepFloyd IF, adapted to a product: stages I and II, learned variance included, and back to diffusers and peft."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pinxit.api import load
from pinxit.cli import app
from pinxit.config import to_dict
from pinxit.errors import CheckpointError, UsageError
from pinxit.models.unet import UNet
from pinxit.recipes.deepfloyd.open import open_painter, open_upsampler
from pinxit.recipes.deepfloyd.published import open_deepfloyd
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.export import _names, _opened, export
from pinxit.recipes.imagen.config import ImagenConfig
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.initial_weights import open_start
from pinxit.text.encoders import open_text_encoder
from pinxit.training import runs
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.training.loop import _take
from pinxit.training.rows import all_rows
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.deepfloyd import load_deepfloyd
from tests.recipes.publics import save_stage_1, save_stage_2
from tests.recipes.squares import write_squares
from tests.weights.karlos import diffusers

peft = pytest.importorskip("peft")
STAGES = ("base", "upsampler")


def words(stage: str, images: int, lora: int = 2) -> list[str]:
    plan = {"images": images, "batch": 4, "warmup": 0, "lr": 0.003, "precision": "fp32", "log_every": 4, "lora": lora}
    plan |= {"preview_every": 10_000}
    return [f"--set=stages.{stage}.plan.{name}={value}" for name, value in plan.items()]


def train(place: Path, out: Path, *more: str) -> None:
    init = [f"--init-from={place / stage}" for stage in ("I", "II")]
    usual = ["train", "imagen", "--preset", "nano", *init, "--data", str(place / "squares"), "--out", str(out)]
    usual += [f"--set=stages.{stage}.pictures=8" for stage in STAGES]
    outcome = CliRunner().invoke(app, [*usual, "--device", "cpu", "--quiet", *more])
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages as published, and a run that adapts both."""
    place = tmp_path_factory.mktemp("deepfloyd")
    save_stage_1(place / "I")
    save_stage_2(place / "II")
    write_squares(place / "squares")
    train(place, place / "run", *words("base", 16), *words("upsampler", 8))
    return place


def unet(run: Path, stage: str) -> UNet:
    """Ours as the run has trained it."""
    config = runs.config_of(run, "imagen", ImagenConfig).stage(stage)
    found = UNet(config.unet)
    found.load_state_dict(states.read_weights(run / stage, stage))
    return found.eval()


def alike(theirs: Any, ours: UNet) -> None:
    """Noise and variance, at two times and for two texts."""
    generator = torch.Generator().manual_seed(1)
    x, small = (torch.randn(2, 3, 16, 16, generator=generator) for _ in range(2))
    sequence, time = torch.randn(2, 7, ours.config.text, generator=generator), torch.tensor([3.0, 740.0])
    told = {"sequence": sequence}
    level = torch.tensor([250.0, 10.0]) if ours.config.low_res else None
    if level is not None:
        told |= {"low_res": small, "augmentation": level}
    with torch.no_grad():
        found = ours(x, time, told)
        expected = theirs(
            torch.cat([x, small], 1) if level is not None else x, time, sequence, class_labels=level
        ).sample
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_run_is_of_what_the_folders_say(place: Path) -> None:
    config = runs.config_of(place / "run", "imagen", ImagenConfig)
    base, large = config.stages
    published = open_painter(place / "I", device="cpu"), open_upsampler(place / "II", text=place / "I", device="cpu")
    for stage, painter in zip((base, large), published, strict=True):
        assert to_dict(stage.network) == to_dict(painter.config)  # type: ignore[attr-defined]
    assert config.sampling.max_threshold == 1.5 and config.sampling.percentile == 0.95
    assert config.text.manner == "deepfloyd" and config.text.encoder == str((place / "I").resolve())
    assert open_checkpoint(place / "run/checkpoint").provenance["started_from"]


@pytest.mark.parametrize("stage", STAGES)
def test_lora_moves_additions_alone_and_diffusers_and_peft_say_the_same(
    place: Path, tmp_path: Path, stage: str
) -> None:
    source = place / {"base": "I", "upsampler": "II"}[stage]
    before, after = load_deepfloyd(source), unet(place / "run", stage)
    moved = {name for name, tensor in after.state_dict().items() if not torch.equal(before.state_dict()[name], tensor)}
    assert moved == states.read_additions(place / "run" / stage, stage).keys()
    assert {"stem.weight", "out.weight", "conditioning.pooled.pool.key.weight"} <= moved
    written = dict(zip(STAGES, export(str(place / "run"), "diffusers", tmp_path / "whole"), strict=True))[stage]
    kind = diffusers.UNet2DConditionModel
    net = kind.from_pretrained(written, subfolder="unet").eval()
    alike(net, after)
    assert set(net.state_dict()) == set(kind.from_pretrained(source, subfolder="unet").state_dict())
    adapter = dict(zip(STAGES, export(str(place / "run"), "peft", tmp_path / "new" / "added"), strict=True))[stage]
    about = json.loads((adapter / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(source.resolve())
    base = kind.from_pretrained(source, subfolder="unet").eval()
    alike(base, before)
    alike(peft.PeftModel.from_pretrained(base, str(adapter)).eval(), after)
    scheduler = diffusers.DDPMScheduler.from_pretrained(written / "scheduler")
    published = diffusers.DDPMScheduler.from_pretrained(source / "scheduler")
    assert torch.equal(scheduler.alphas_cumprod, published.alphas_cumprod)
    for name in ("variance_type", "thresholding", "dynamic_thresholding_ratio", "sample_max_value", "prediction_type"):
        assert scheduler.config[name] == published.config[name]


def test_weights_of_16_bits_start_a_run_as_their_values_in_32_do(place: Path, tmp_path: Path) -> None:
    net = diffusers.UNet2DConditionModel.from_pretrained(place / "I", subfolder="unet")
    for name, dtype in (("16", torch.float16), ("32", torch.float32)):
        shutil.copytree(place / "I", tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
        net.to(dtype).save_pretrained(tmp_path / name / "unet")
    settings: list[dict[str, Any]] = []
    starts = [open_deepfloyd([tmp_path / name]) for name in ("16", "32")]
    for start in starts:
        settings.append({**start.settings, "text": {**start.settings["text"], "encoder": ""}})
    one, other = (replace(start, settings=about) for start, about in zip(starts, settings, strict=True))
    assert one.hash == other.hash
    types = [{tensor.dtype for tensor in start.state("base").values()} for start in starts]
    assert types == [{torch.float16}, {torch.float32}]
    nets = [UNet(start.config("base", StageConfig).unet) for start in starts]
    for net, start in zip(nets, starts, strict=True):
        _take(net, "base", start.state("base"))
    for name, tensor in nets[0].state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, nets[1].state_dict()[name])


def test_the_checkpoint_paints_as_its_export_does(place: Path, tmp_path: Path) -> None:
    """Captions are cleaned, pads are read and smaller pictures noised as DeepFloyd IF's are, in both."""
    export(str(place / "run/checkpoint"), "diffusers", tmp_path / "out")
    base, large = tmp_path / "out/base", tmp_path / "out/upsampler"
    ours = load(place / "run/checkpoint", device="cpu")
    theirs = open_painter(base, upsampler=large, text=place / "I", device="cpu")
    prompt = "A red CAT on the tree http://a.com"
    found, expected = (one.paint(prompt, candidates=1, steps=3, seed=5) for one in (ours, theirs))
    near(found[0].picture, expected[0].picture)
    for one in (ours, theirs):
        one.upsampler.tune({"upsampler_steps": 2})  # type: ignore[attr-defined]
    enlarged = [one.upsampler.enlarge(prompt, expected)[0].picture for one in (ours, theirs)]  # type: ignore[attr-defined]
    assert enlarged[0].shape == (64, 64, 3)
    near(*enlarged)


def near(one: Any, other: Any) -> None:
    """Equal but for the types that networks are run in: a checkpoint's in the fastest, a published one's in float32."""
    assert float(one.std()) > 20 and float(np.abs(one.astype(float) - other).mean()) < 6


def test_training_reads_captions_as_painting_does(place: Path) -> None:
    """Cleaned, at every position; a dropped one is the empty caption, stored or read as training goes."""
    run = ImagenRun(place / "run", runs.config_of(place / "run", "imagen", ImagenConfig), "cpu", progress=False)
    task = run.task("base")
    rows = all_rows(0, 4)
    read = task._read(["A RED square on the left http://a.com", ""])["sequence"]
    assert read.shape == (2, 77, 32) and task.batch(rows)["sequence"].shape == (4, 77, 32)
    published = open_text_encoder(place / "I", length=77, precision="bf16", padded=True)
    known = published.encode(["a red square on the left", ""], 2).sequence
    torch.testing.assert_close(read, known)
    assert float(read[0, 20:].abs().max()) > 0.1  # pads say something


def test_stored_captions_are_those_read_as_training_goes(place: Path, tmp_path: Path) -> None:
    train(place, tmp_path / "run", *words("base", 4), *words("upsampler", 0), "--set=text.stored=2")
    config = runs.config_of(tmp_path / "run", "imagen", ImagenConfig)
    run = ImagenRun(tmp_path / "run", config, "cpu", progress=False)
    stored, task = run.task("base").batch(all_rows(0, 8)), run.task("base")
    task.stored = None
    read = task.batch(all_rows(0, 8))
    assert torch.equal(stored["pictures"], read["pictures"])
    same = [bool((a - b).abs().max() < 0.05) for a, b in zip(stored["sequence"], read["sequence"], strict=True)]
    assert sum(same) >= 4  # which of two captions is drawn may differ; dropped ones and half of the others do not


def test_what_cannot_be_is_one_sentence(place: Path, tmp_path: Path) -> None:
    for init, told in (
        ((place / "II",), "give its stage I here"),
        ((place / "I", place / "I"), "give its stage II here"),
        ((place / "I", place / "II", place / "II"), "one folder too many"),
    ):
        with pytest.raises(CheckpointError, match=told):
            open_start([str(folder) for folder in init])
    with pytest.raises(UsageError, match="may be repeated for the stages of DeepFloyd IF alone"):
        open_start([str(place / "I"), "tiny"])
    with pytest.raises(UsageError, match="can be exported to diffusers, peft, not to open_clip"):
        export(str(place / "run"), "open_clip", tmp_path / "new")
    with pytest.raises(CheckpointError, match="DeepFloyd IF predicts noise and a learned variance"):
        export("imagen-tiny", "diffusers", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_network_that_diffusers_does_not_have_has_no_adapter(place: Path, tmp_path: Path) -> None:
    network = _opened(str(place / "run")).networks[0]
    assert network.additions and _names(network.config)("stem.weight").parts == ("conv_in.weight",)
    other = replace(network.config, unet=replace(network.config.unet, refiner_layers=1))
    with pytest.raises(CheckpointError, match="no network of DeepFloyd IF is like this one"):
        _names(other)


def test_what_was_trained_whole_is_named_as_left_out_of_adapters(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A network without additions that has seen pictures, and weights that were trained themselves beside additions."""
    read, whole = states.read_additions, {"base": ["base/out.bias"], "upsampler": []}
    monkeypatch.setattr(states, "read_additions", lambda at, name: read(at, name) if name == "base" else {})
    monkeypatch.setattr(states, "read_whole", lambda at: whole[at.name])
    assert [path.name for path in export(str(place / "run"), "peft", tmp_path / "added")] == ["base"]
    assert "trained whole and peft holds additions alone: base/out.bias, upsampler; another format" in caplog.text


@pytest.mark.slow
def test_a_few_hundred_steps_teach_a_product(place: Path, tmp_path: Path) -> None:
    """Random weights know nothing of squares: additions of rank 8 halve the error, and what was exported has it too."""
    train(place, tmp_path / "run", *words("base", 4 * 300, 8), *words("upsampler", 0))
    lines = [line["loss"] for line in read_metrics(tmp_path / "run/base")]
    assert sum(lines[-20:]) < 0.5 * sum(lines[:20])
    adapter = export(str(tmp_path / "run"), "peft", tmp_path / "added")[0]
    base = diffusers.UNet2DConditionModel.from_pretrained(place / "I", subfolder="unet").eval()
    alike(peft.PeftModel.from_pretrained(base, str(adapter)).eval(), unet(tmp_path / "run", "base"))

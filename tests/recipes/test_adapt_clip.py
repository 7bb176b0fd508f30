"""Somebody's CLIP, adapted to a catalogue: trained whole or by little, and given back to the libraries it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.errors import CheckpointError, PinxitError, UsageError
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.export import export
from pinxit.recipes.initial_weights import open_start
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.public_clip import load_public_clip
from tests.models.test_torch_defaults import in_double
from tests.recipes.publics import save_clip
from tests.recipes.squares import write_squares
from tests.text.tiny_models import transformers

peft = pytest.importorskip("peft")
TEXTS = ["a red square on the left", "cat cat", ""]
RUN = ["--set", "plan.batch=8", "--set", "plan.precision=fp32", "--set", "data.pictures=8", "--set", "data.held_out=0"]
RUN += ["--set", "plan.warmup=0", "--set", "plan.lr=0.003", "--device", "cpu", "--quiet"]


def train(out: Path, init: Path, data: Path, images: int, *more: str) -> None:
    words = ["train", "clip", "--preset", "nano", "--init-from", str(init), "--data", str(data), "--out", str(out)]
    outcome = CliRunner().invoke(app, [*words, *RUN, "--set", f"plan.images={images}", *more])
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)


def answers(model: Any, encoder: ClipEncoder) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What transformers' model and ours say of pictures, and of texts."""
    generator = torch.Generator().manual_seed(3)
    pictures = torch.rand(3, 3, 32, 32, generator=generator)
    ids = torch.from_numpy(np.array(encoder.tokenize(TEXTS, True)))
    shown = (pictures - encoder.model.mean) / encoder.model.std
    with torch.no_grad():
        told = model(input_ids=ids, pixel_values=shown)
    theirs = (torch.nn.functional.normalize(one, dim=-1) for one in (told.image_embeds, told.text_embeds))
    ours = (torch.from_numpy(one) for one in (encoder.fitted(pictures), encoder.tokens(ids)))
    return list(zip(theirs, ours, strict=True))


def alike(model: Any, encoder: ClipEncoder) -> None:
    for theirs, ours in answers(model, encoder):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published CLIP, a catalogue, and what --lora made of them."""
    place = tmp_path_factory.mktemp("clip")
    save_clip(place / "theirs")
    write_squares(place / "squares")
    train(place / "run", place / "theirs", place / "squares", 96, "--lora", "2")
    return place


def test_a_run_begins_with_what_was_published(place: Path, tmp_path: Path) -> None:
    """Of a plan of no images the checkpoint is the published model, its tokens and its way to see pictures too."""
    train(tmp_path / "run", place / "theirs", place / "squares", 8, "--set", "plan.lr=0", "--set", "plan.ema=0")
    ours, theirs = (ClipEncoder.open(folder, "cpu") for folder in (tmp_path / "run/checkpoint", place / "theirs"))
    assert ours.model.config == theirs.model.config and ours.model.fitting == theirs.model.fitting
    assert ours.model.fitting.method == "bilinear"
    assert np.array_equal(ours.tokenize(TEXTS, True), theirs.tokenize(TEXTS, True))
    for name, tensor in theirs.model.state_dict().items():
        assert torch.equal(states.read_weights(tmp_path / "run/clip", "clip")[name], tensor), name
    facts = open_checkpoint(tmp_path / "run/checkpoint").provenance
    assert facts["started_from"] == json.loads((tmp_path / "run/start.json").read_text())["checkpoint"]


def test_lora_moves_additions_alone_and_peft_and_transformers_say_the_same(place: Path, tmp_path: Path) -> None:
    before = load_public_clip(place / "theirs")
    after = states.read_weights(place / "run/clip", "clip")
    moved = {name for name, tensor in before.state_dict().items() if not torch.equal(after[name], tensor)}
    assert moved == states.read_additions(place / "run/clip", "clip").keys()
    assert {"visual.patches.weight", "text.proj", "visual.blocks.0.attn.qkv.weight"} <= moved
    encoder = ClipEncoder.open(place / "theirs", "cpu")
    encoder.model.load_state_dict(after)
    base = transformers.CLIPModel.from_pretrained(place / "theirs").eval()
    assert all((theirs - ours).abs().max() > 1e-3 for theirs, ours in answers(base, encoder))  # both towers learnt
    (written,) = export(str(place / "run"), "transformers", tmp_path / "hf")
    alike(transformers.CLIPModel.from_pretrained(written).eval(), encoder)
    assert ClipEncoder.open(written, "cpu").model.fitting == encoder.model.fitting
    tokenizer = transformers.CLIPTokenizer.from_pretrained(written)
    ids = encoder.tokenize(TEXTS[:1], True)[0]
    assert tokenizer(TEXTS[0])["input_ids"] == ids[: len(ids) - int((ids == 0).sum())].tolist()
    (adapter,) = export(place / "run", "peft", str(tmp_path / "peft"))
    adapted = peft.PeftModel.from_pretrained(base, str(adapter)).eval()
    alike(adapted, encoder)
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        (place / "theirs").resolve()
    )


def test_a_checkpoint_is_exported_as_it_stands(place: Path, tmp_path: Path) -> None:
    encoder = ClipEncoder.open(place / "run/checkpoint", "cpu")
    (written,) = export(str(place / "run/checkpoint"), "transformers", tmp_path / "hf")
    alike(transformers.CLIPModel.from_pretrained(written).eval(), encoder)
    before = torch.get_rng_state()
    with in_double(), torch.device("meta"):  # what a program may have set
        (written,) = export(str(place / "run/checkpoint"), "open_clip", tmp_path / "open")
    assert torch.equal(torch.get_rng_state(), before)
    again = load_public_clip(written)
    assert again.config == encoder.model.config and again.fitting == encoder.model.fitting
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_run_goes_on_and_can_be_adapted_again(place: Path, tmp_path: Path) -> None:
    train(tmp_path / "cut", place / "theirs", place / "squares", 48, "--lora", "2")
    train(tmp_path / "cut", place / "theirs", place / "squares", 96, "--lora", "2", "--set", "plan.decay_horizon=0")
    train(tmp_path / "more", place / "run/checkpoint", place / "squares", 8)
    assert ClipEncoder.open(tmp_path / "more/checkpoint", "cpu").tokenize(TEXTS, True).max() == 515


def test_what_cannot_be_is_one_sentence(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = str(place / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note.txt").write_text("mine")
    with pytest.raises(PinxitError, match=r"note.txt is a file; choose another place"):
        export(run, "transformers", tmp_path / "full/note.txt")
    for source, to, out, told in (
        (run, "diffusers", "new", "can be exported to transformers, open_clip, peft, not to diffusers"),
        (run, "transformers", "full", "is not empty: export into another folder"),
        (str(place / "run/checkpoint"), "peft", "new", "no additions for peft: give a run"),
    ):
        with pytest.raises(UsageError, match=told):
            export(source, to, tmp_path / out)
    with pytest.raises(CheckpointError, match="there is no checkpoint 'nowhere'"):
        export("nowhere", "peft", tmp_path / "new")
    assert not (tmp_path / "new").exists() and (tmp_path / "full/note.txt").read_text() == "mine"
    (adapter,) = export(run, "peft", tmp_path / "peft")
    assert not caplog.records, "all that was trained is in it"
    for path in (adapter, adapter / "adapter_model.safetensors"):
        with pytest.raises(CheckpointError, match=r"is an adapter for .*theirs, and no network by itself"):
            open_start([str(path)])


@pytest.mark.slow
def test_a_few_hundred_steps_teach_a_catalogue(place: Path, tmp_path: Path) -> None:
    """Random weights know nothing of squares; additions of rank 8 tell all eight pictures apart."""
    train(tmp_path / "run", place / "theirs", place / "squares", 8 * 300, "--lora", "8")
    lines = read_metrics(tmp_path / "run/clip")
    assert lines[0]["right"] < 0.5 and lines[-1]["right"] > 0.9
    (adapter,) = export(str(tmp_path / "run"), "peft", tmp_path / "peft")
    base = transformers.CLIPModel.from_pretrained(place / "theirs").eval()
    encoder = ClipEncoder.open(place / "theirs", "cpu")
    encoder.model.load_state_dict(states.read_weights(tmp_path / "run/clip", "clip"))
    alike(peft.PeftModel.from_pretrained(base, str(adapter)).eval(), encoder)

"""A decoder begins by reading embeddings as its base reads captions, as well as a linear layer can."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from pinxit.data.bank import Bank
from pinxit.models.unet_conditioning import Conditioning, PictureEmbedding
from pinxit.models.unet_config import UNetConfig
from pinxit.recipes.diffusion.conditions import texts
from pinxit.recipes.diffusion.task import DiffusionTask
from pinxit.recipes.unclip import first_inputs as module
from pinxit.recipes.unclip.first_inputs import averages, first_inputs, regression
from pinxit.recipes.unclip.run import UnclipRun
from pinxit.recipes.unclip.stages import train
from pinxit.training.draws import seeded
from pinxit.training.rows import all_rows
from pinxit.weights.checkpoint import open_checkpoint

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.recipes.unclips import tiny_config


def test_a_linear_layer_is_found_again() -> None:
    draw = torch.Generator().manual_seed(0)
    known, weight, bias = (torch.randn(*shape, generator=draw) for shape in ((500, 7), (3, 7), (3,)))
    found = regression(known, F.linear(known, weight, bias))
    torch.testing.assert_close(found[0], weight, atol=0.02, rtol=0)
    torch.testing.assert_close(found[1], bias, atol=0.02, rtol=0)


def test_parts_of_a_text_are_averaged_without_padding() -> None:
    text = torch.arange(10.0).view(1, 5, 2).repeat(3, 1, 1)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], dtype=torch.bool)
    found = averages(text, mask, 2)
    assert found.shape == (3, 2, 2)
    assert found[0].tolist() == [[1.0, 2.0], [5.0, 6.0]]  # 0-1 and 2-3
    assert found[1].tolist() == [[1.0, 2.0], [6.0, 7.0]]  # 0-1 and 2-4
    assert found[2].tolist() == [[0.0, 1.0], [0.0, 1.0]]  # one token twice
    assert averages(text, mask, 0).shape == (3, 0, 2)


@pytest.mark.parametrize("hidden", [0, 64])
def test_embeddings_are_read_as_captions_from_the_start_and_only_then(
    hidden: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight pictures, told apart by six numbers, what the base reads is met closely: without text, all there is."""
    monkeypatch.setattr(module, "PICTURES", 64)
    monkeypatch.setattr(module, "EPOCHS", 6)
    monkeypatch.setattr(module, "AT_ONCE", 8)
    monkeypatch.setattr(module, "RIDGE", 1e-6)
    config = tiny_config(tmp_path, "decoder.plan.images=8", "text.stored=1", f"decoder.unet.image_hidden={hidden}")
    init = open_checkpoint(save_random_imagen(tmp_path / "imagen"))
    run = UnclipRun(tmp_path / "run", config, "cpu", False, init)
    assert not train(run, ["pictures", "texts", "vectors", "space"]).stopped
    task = run.decoder_task()
    brought = run.brought(task)
    assert brought is not None
    task.unet.load_state_dict({name: value.float() for name, value in brought["decoder"].items()}, strict=False)
    conditioning, task.drop, task.drop_image = task.unet.conditioning, 0.0, 0.0
    batch = task.shortest_captions(all_rows(0, 8))
    none = torch.zeros_like(batch["mask"])
    time = torch.zeros(8)
    with torch.inference_mode():
        told = base_of(conditioning, time, batch["sequence"], batch["mask"])
        silent = base_of(conditioning, time, batch["sequence"], none)
        seen, text = conditioning(time, {"sequence": batch["sequence"], "mask": none, "image": batch["image"]})
    assert (seen - told).norm() < 0.5 * (silent - told).norm()
    assert text is not None and text.sequence.shape[1] == batch["mask"].shape[1] + config.decoder.unet.image_tokens
    counts: list[int] = []
    examples = module._examples

    def noting(task: DiffusionTask, conditioning: Conditioning, count: int) -> Any:
        counts.append(count)
        return examples(task, conditioning, count)

    monkeypatch.setattr(module, "_examples", noting)
    fitted = first_inputs(task, brought["decoder"])
    assert counts == [256 if hidden else 64], "an MLP is fitted to more pictures than a line"
    assert all(torch.equal(value, brought["decoder"][name]) for name, value in fitted.items())
    assert len(fitted) == (12 if hidden else 4), "an MLP's two layers with their norms besides"
    with_state = tmp_path / "run" / "decoder"
    monkeypatch.setattr(UnclipRun, "started", lambda self, stage: stage == with_state.name)
    resumed = run.brought(task)
    assert resumed is not None and not any("image" in name for name in resumed["decoder"]), "the state has them"


def test_the_shortest_caption_of_each_picture_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = UnclipRun(tmp_path / "run", tiny_config(tmp_path, "text.stored=1"), "cpu", False, None)
    assert not train(run, ["pictures", "texts", "vectors", "space"]).stopped
    task = run.decoder_task()
    assert isinstance(task.bank, Bank) and task.reader is not None
    bank = SimpleNamespace(
        order=task.bank.order, captions=[["a long caption", "short", "a longer one"]] * len(task.bank)
    )
    monkeypatch.setattr(task, "bank", bank)
    wanted, found = texts(task.reader, ["short"] * 8, 8), task.shortest_captions(all_rows(0, 8))
    assert torch.equal(found["sequence"], wanted["sequence"].cpu()) and torch.equal(found["mask"], wanted["mask"].cpu())


def test_an_mlp_learns_what_no_line_can_and_the_mean_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products of its numbers; linear regression explains none of their variance."""
    monkeypatch.setattr(module, "EPOCHS", 60)
    config = UNetConfig((8,), (1,), (True,), text=6, pool_heads=2, head=2, image=3, image_tokens=2, image_hidden=32)
    picture = seeded(lambda: PictureEmbedding(config), 0, "test")
    known = torch.randn(2048, 3, generator=torch.Generator().manual_seed(0))
    products = torch.stack([known[:, 0] * known[:, 1], known[:, 1] * known[:, 2]], 1) + 5
    vectors, tokens = products.repeat(1, 16), products.repeat(1, 6)
    assert explained(F.linear(known, *regression(known, vectors)), vectors) < 0.1
    module.fit(picture, known, vectors, tokens, 0)
    with torch.no_grad():
        vector, text = picture(None, known)
        assert text is not None
        assert explained(vector, vectors) > 0.8 and explained(text.sequence.flatten(1), tokens) > 0.8
        nothing, _ = picture(None, torch.zeros(1, 3))
    torch.testing.assert_close(nothing[0], vectors.mean(0), atol=0.3, rtol=0)


def test_where_a_base_makes_nothing_that_the_decoder_takes_nothing_is_learnt() -> None:
    config = UNetConfig((8,), (1,), (True,), text=6, pool_heads=0, head=2, image=3, image_tokens=0, image_hidden=8)
    picture = seeded(lambda: PictureEmbedding(config), 0, "test")
    before = {name: value.clone() for name, value in picture.state_dict().items()}
    module.fit(picture, torch.randn(256, 3), None, torch.zeros(256, 0), 0)
    assert all(torch.equal(value, before[name]) for name, value in picture.state_dict().items())


def explained(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The share of the variance."""
    return 1 - float((found - wanted).pow(2).sum() / (wanted - wanted.mean(0)).pow(2).sum())


def base_of(conditioning: Conditioning, time: torch.Tensor, sequence: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What the time embedding and the text make without a picture's embedding."""
    vector, _ = conditioning.read(sequence, mask)
    assert vector is not None
    made: torch.Tensor = conditioning.time(time) + vector
    return made

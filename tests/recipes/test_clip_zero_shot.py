"""CLIP at work: the 80 templates, labels that name pictures, and the command around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.errors import CheckpointError, UsageError
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.pictures import write_png
from pinxit.recipes.clip import engine, zero_shot
from pinxit.recipes.clip.encoder import ClipEncoder, Vectors
from pinxit.recipes.clip.ranker import AnyRanker
from pinxit.recipes.clip.templates import imagenet80, templates
from pinxit.recipes.clip.zero_shot import ZeroShot, label_vectors
from pinxit.recipes.requests import Candidate
from pinxit.weights.clip_export import save_transformers_clip

SMALL = CLIPConfig(
    embed=24,
    vision=CLIPVisionConfig(size=32, patch=8, width=64, layers=2, heads=1),
    text=CLIPTextConfig(vocab=49408, tokens=77, width=64, layers=2, heads=1),
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model as transformers keeps it; without merges of its own it reads the published ones."""
    folder = tmp_path_factory.mktemp("clip")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_transformers_clip(CLIP(SMALL), folder)
    return folder


@pytest.fixture(scope="module")
def encoder(weights: Path) -> ClipEncoder:
    return ClipEncoder.open(weights, "cpu")


def pictures(count: int, seed: int = 0) -> list[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (40 + 7 * i, 60, 3), dtype=np.uint8) for i in range(count)]


def test_the_eighty_templates() -> None:
    found = imagenet80()
    assert len(set(found)) == len(found) == 80
    assert all(one.count("{}") == 1 and one.endswith(".") and "  " not in one for one in found)
    for one in (
        "a bad photo of the {}.",
        "a photo of the large {}.",
        "a origami {}.",
        "itap of my {}.",
        "a photo of a {}.",
    ):
        assert one in found


def test_own_templates(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a drawing of {}\n\n{} on paper\n")
    assert templates(str(tmp_path / "t.txt")) == ("a drawing of {}", "{} on paper")
    (tmp_path / "t.txt").write_text("a drawing\n")
    with pytest.raises(UsageError, match="template 1"):
        templates(str(tmp_path / "t.txt"))
    with pytest.raises(UsageError, match="neither imagenet80"):
        templates("nowhere")


def test_a_picture_has_one_vector_whatever_its_company(encoder: ClipEncoder) -> None:
    some = pictures(40)
    together = encoder.pictures(some)
    assert together.shape == (40, 24) and np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert np.array_equal(encoder.pictures(some[7:9]), together[7:9])
    named = ZeroShot(encoder, ["cat", "dog", "fox"])
    assert np.array_equal(named.shares(encoder.pictures(some[5:6]))[0], named.shares(together)[5])


def test_labels_are_mean_directions(encoder: ClipEncoder) -> None:
    around = ("a photo of a {}.", "art of the {}.")
    named = ZeroShot(encoder, ["cat", "dog"], around)
    one = encoder.texts(["a photo of a cat.", "art of the cat."]).mean(0)
    assert np.allclose(named.weights_CE[0], one / np.linalg.norm(one), atol=1e-6)
    logits = encoder.scale * encoder.pictures(pictures(3)).astype(np.float64) @ named.weights_CE.T
    assert np.allclose(
        named.shares(encoder.pictures(pictures(3))), torch.from_numpy(logits).softmax(1).numpy(), atol=1e-6
    )
    best = named.classify(pictures(3), top=1)
    assert [guesses[0].label for guesses in best] == [["cat", "dog"][row.argmax()] for row in logits]
    assert named.classify([]) == []


def test_of_equally_likely_labels_the_first_come_first(encoder: ClipEncoder) -> None:
    labels = [f"thing {number}" for number in range(40)]
    named = ZeroShot(encoder, labels)
    named.weights_CE[:] = named.weights_CE[0]
    (guesses,) = named.classify(pictures(1), top=40)
    assert [guess.label for guess in guesses] == labels and {guess.share for guess in guesses} == {1 / 40}


def test_labels_that_cannot_be(encoder: ClipEncoder) -> None:
    for labels, told in (([], "at least one"), (["cat", " "], "empty"), (["cat", "cat "], "twice")):
        with pytest.raises(UsageError, match=told):
            ZeroShot(encoder, labels)
    with pytest.raises(UsageError, match="CLIP reads 75"):
        ZeroShot(encoder, ["cat " * 80])


def test_a_prompt_that_is_too_long_ranks_by_its_beginning(encoder: ClipEncoder) -> None:
    """It has been painted already, and its end was told to be dropped."""
    ranker, some = AnyRanker(encoder), pictures(4)
    drawn = [Candidate(picture, embedding=one) for picture, one in zip(some, ranker.embed(some), strict=True)]
    long, short = (ranker.best("cat " * count, 0, drawn) for count in (90, 75))
    assert [one.score for one in long] == [one.score for one in short]
    cosines = encoder.pictures(some) @ encoder.texts(["cat " * 75])[0]
    assert [one.candidate for one in long] == cosines.argsort()[::-1].tolist()


def test_what_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no CLIP 'nowhere'"):
        ClipEncoder.open("nowhere")
    with pytest.raises(CheckpointError, match="checkpoint of judge without a CLIP"):
        ClipEncoder.open("judge")


def test_the_command_names_pictures_and_skips_broken_ones(tmp_path: Path, weights: Path) -> None:
    for number, picture in enumerate(pictures(3)):
        write_png(tmp_path / "in" / f"{number}.png", picture)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    (tmp_path / "labels.txt").write_text("cat\n\ndog\na red fox\n")
    call = ["classify", str(tmp_path / "in"), "--checkpoint", str(weights), "--device", "cpu"]
    told = CliRunner().invoke(app, [*call, "--labels-file", str(tmp_path / "labels.txt"), "--json", "--top", "2"])
    assert told.exit_code == 0, told.output
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert [Path(line["path"]).name for line in lines] == ["0.png", "1.png", "2.png"]
    assert all(len(line["labels"]) == 2 and line["labels"][0]["share"] >= line["labels"][1]["share"] for line in lines)
    assert "broken.jpg" in told.stderr and "skipped" in told.stderr
    plain = CliRunner().invoke(app, [*call, "--labels", "cat,dog", "--templates", "label"])
    assert plain.exit_code == 0 and plain.stdout.count("%") == 6


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "either --labels or --labels-file"),
        (("--labels", ","), "at least one label"),
        (("--labels", "cat", "--templates", "nowhere"), "neither imagenet80"),
        (("--labels-file", "nowhere.txt"), "cannot read labels from nowhere.txt"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, weights: Path, arguments: tuple[str, ...], told: str) -> None:
    write_png(tmp_path / "a.png", pictures(1)[0])
    call = ["classify", str(tmp_path), "--checkpoint", str(weights), "--device", "cpu", *arguments]
    with pytest.raises(UsageError, match=told):
        CliRunner().invoke(app, call, catch_exceptions=False)


def test_no_pictures_at_all(tmp_path: Path, weights: Path) -> None:
    for path, told in ((tmp_path, "no pictures in"), (tmp_path / "none.png", "no picture")):
        with pytest.raises(UsageError, match=told):
            CliRunner().invoke(app, ["classify", str(path), "--labels", "cat"], catch_exceptions=False)


def test_labels_are_read_together_and_alone_alike(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand labels take as many calls as their sentences fill, and each has the vector that it has alone."""
    encoder = ClipEncoder.open(weights, "cpu")
    labels, around, calls = [f"thing {n}" for n in range(70)], ("a {}.", "one {} there"), list[int]()
    read = encoder.texts

    def counted(texts: Sequence[str]) -> Vectors:
        calls.append(len(texts))
        return read(texts)

    monkeypatch.setattr(encoder, "texts", counted)
    monkeypatch.setattr(zero_shot, "SENTENCES", 64)
    together = label_vectors(encoder, labels, around)
    assert calls == [64, 64, 12]
    for place in (0, 31, 32, 69):
        assert np.allclose(together[place], label_vectors(encoder, [labels[place]], around)[0], atol=1e-6)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_a_batch_is_of_32_rows() -> None:
    """On which the last bits of every vector hang, and so whether an index is the same everywhere."""
    assert ClipEncoder.open("tiny", "cpu").batch == 32


@pytest.mark.parametrize(
    ("installed", "device", "picked"),
    [(True, "cpu", "openvino"), (True, "cuda", "torch"), (False, "cpu", "torch"), (False, "cuda", "torch")],
)
def test_the_fastest_engine_is_picked_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, installed: bool, device: str, picked: str
) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: object() if installed else None)
    assert engine.pick_engine("auto", torch.device(device)) == picked
    assert engine.pick_engine("torch", torch.device(device)) == "torch"

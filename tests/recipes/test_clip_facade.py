"""The Python API of CLIP: one object that classifies, indexes, searches, probes and audits."""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pinxit
from pinxit.data.problems import ItemError
from pinxit.data.transforms import to_tensor
from pinxit.errors import DataError, UsageError
from pinxit.pictures import write_png
from pinxit.recipes.clip import encoder as encoders
from pinxit.recipes.clip import engine
from pinxit.recipes.clip.facade import Clip
from tests.recipes.painters import save_random_checkpoint

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng, lines = np.random.default_rng(0), ["file,who"]
    for part in ("train", "test"):
        for name, colour in COLOURS.items():
            for number in range(4):
                picture = np.clip(np.array(colour) + rng.integers(-30, 30, (72, 72, 3)), 0, 255).astype(np.uint8)
                write_png(tmp_path / part / name / f"{number}.png", picture)
                lines.append(f"{part}/{name}/{number}.png,{part}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture(scope="module")
def opened() -> Clip:
    return pinxit.load_clip("tiny", device="cpu")


@pytest.fixture
def clip(opened: Clip) -> Clip:
    return Clip(opened.encoder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """One with random weights, where it does not matter what it has learnt."""
    place = tmp_path_factory.mktemp("random")
    save_random_checkpoint(place)
    return pinxit.load_clip(place, device="cpu", engine="torch")


def test_one_text_or_path_in_place_of_a_list(plain: Clip, folder: Path) -> None:
    """Its letters were taken for labels, and for paths."""
    shown = folder / "test" / "red" / "0.png"
    for wrong in (
        lambda: plain.classify(shown, "red"),
        lambda: [*plain.audit(folder, "red", "who").before],
        lambda: [*plain.audit(folder, ["red"], "who", add="blue").before],
    ):
        with pytest.raises(UsageError, match="must be a list, not one text"):
            list(wrong())
    with pytest.raises(UsageError, match="texts must be a list, not one text"):
        plain.encoder.texts("a cat")
    (by_path,), (by_text,) = plain.classify(shown, ["red"]), plain.classify(str(shown), ["red"])
    assert by_path == by_text and by_path[0] == shown


@pytest.mark.parametrize(
    ("labels", "how", "message"),
    [
        (["red", "blue"], {"top": 0}, "top must be at least 1, not 0"),
        (["red", "blue"], {"top": -1}, "top must be at least 1, not -1"),  # which dropped the last label
        (["red", "blue"], {"top": 1.5}, "top must be a whole number, not 1.5"),
        ([1, 2], {}, "a label must be text, not 1"),
        ([], {}, "give at least one label"),
        (["red"], {"templates": []}, "give at least one template"),
        (["red"], {"templates": ["a {}", "a photo"]}, "template 2: 'a photo' must hold {} once"),
        (["red"], {"templates": [1]}, "template 1 must be text, not 1"),
    ],
)
def test_what_cannot_be_classified_is_refused_at_once(
    plain: Clip, folder: Path, labels: list[Any], how: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        plain.classify(folder / "test", labels, **how)
    with pytest.raises(UsageError, match=r"^the sentence must be text, not \['a'\]"):
        plain.search(folder, ["a"])  # type: ignore[arg-type]


def test_templates_are_given_by_name_or_themselves(plain: Clip, folder: Path) -> None:
    shown = folder / "test" / "red" / "0.png"
    given = plain.classify(shown, ["red", "blue"], templates=["a photo of a {}."], top=np.int64(1))  # type: ignore[arg-type]
    assert list(given) == list(plain.classify(shown, ["red", "blue"], top=1))


def test_pictures_come_in_any_row(plain: Clip, folder: Path) -> None:
    read = plain.encoder.read(str(folder / "test" / "red" / "0.png"))
    rows = plain.encoder.pictures([read, read])
    assert np.array_equal(plain.encoder.pictures(np.stack([read, read])), rows)  # type: ignore[arg-type]
    assert plain.encoder.features((read,)).shape[0] == 1
    wrong: Any
    for wrong, told in (([], "no pictures"), ([read / 255], "must be a NumPy array uint8")):
        with pytest.raises(UsageError, match=told):
            plain.encoder.features(wrong)


def test_every_use(clip: Clip, folder: Path) -> None:
    named = dict(clip.classify([folder], ["a red square", "a blue square"], templates="label", top=1))
    assert len(named) == 16 and all(len(guesses) == 1 for guesses in named.values())
    index, problems = clip.index([folder / "train"], folder / "an.index")
    assert len(index) == 8 and not problems
    hits = clip.search(index, like=folder / "train" / "red" / "0.png", top=3)
    assert hits[0].path == (folder / "train/red/0.png").resolve() and hits[0].score == pytest.approx(1, abs=1e-3)
    assert len(clip.search(folder / "an.index", "a red square", top=5)) == 5
    assert clip.probe(folder / "train", folder / "test").accuracy == 1.0
    labels = ["a red square", "a blue square"]
    red = {path.relative_to(folder) for path, (guess,) in named.items() if guess.label == labels[0]}
    found = clip.audit(folder, [f" {label} " for label in labels], "who", add=["a fox "], templates="label")
    for group in ("train", "test"):
        rate = found.before[group][labels[0]]
        assert (rate.hits, rate.of) == (sum(path.parts[0] == group for path in red), 8)
    assert 0 < found.before["all"][labels[0]].share == len(red) / 16 < 1
    assert found.after is not None and found.after["all"].keys() == {*labels, "a fox"}
    assert clip.audit(folder, labels, "who").after is None


def test_broken_files_are_told_and_left_out(clip: Clip, folder: Path) -> None:
    (folder / "train/red/0.png").write_bytes(b"broken")
    told: list[ItemError] = []
    clip.skipped = told.append
    assert len(list(clip.classify([folder / "train"], ["a", "b"]))) == 7
    assert [Path(error.key).name for error in told] == ["0.png"]
    with pytest.raises(DataError, match="none of the pictures could be read"):
        list(clip.classify([folder / "train/red/0.png"], ["a", "b"]))


def test_a_search_needs_one_question(clip: Clip, folder: Path) -> None:
    for question in ({}, {"sentence": " "}, {"sentence": "a", "like": folder / "train/red/1.png"}):
        with pytest.raises(UsageError, match="either a sentence or a picture"):
            clip.search(folder / "none.index", **question)


@pytest.mark.skipif(not find_spec("openvino"), reason="pinxit[openvino] is not installed")
@pytest.mark.parametrize(
    ("name", "precision"), [("tiny", "fp32"), ("nano", "bf16"), pytest.param("tiny", "bf16", marks=pytest.mark.slow)]
)
def test_openvino_says_what_pytorch_says(folder: Path, name: str, precision: str) -> None:
    if name == "nano":
        save_random_checkpoint(folder / name)
        name = str(folder / name)
    pictures = [np.array(Image.open(path)) for path in sorted(folder.rglob("*.png"))][:5]
    slow = pinxit.load_clip(name, device="cpu", engine="torch").encoder
    fast = pinxit.load_clip(name, device="cpu", engine="openvino", precision=precision).encoder  # type: ignore[arg-type]
    bound = 1e-5 if precision == "fp32" else 0.05
    for one, other in (
        (slow.pictures(pictures), fast.pictures(pictures)),
        (slow.texts(["a fox", "两只红色的猫"]), fast.texts(["a fox", "两只红色的猫"])),
    ):
        assert np.abs(one - other).max() < bound
    assert np.array_equal(fast.pictures(pictures)[3:4], fast.pictures(pictures[3:4])), "in any company the same"
    assert slow.fingerprint == fast.fingerprint
    assert not [one for one in sys.modules if one.startswith("openvino_telemetry.")], "nobody is told of it"


@pytest.mark.skipif(not find_spec("openvino"), reason="pinxit[openvino] is not installed")
def test_towers_share_one_core_that_is_never_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several that have been closed, the last leaves a process that the next signal ends."""
    engine.core()
    monkeypatch.setattr(engine.load_openvino(), "Core", lambda: pytest.fail("another is made"))
    tower = torch.nn.Linear(8, 8).eval()
    for _ in range(2):
        run = engine.compiled(tower.forward, tower, torch.zeros(1, 8), "fp32")
        assert run(torch.ones(1, 8)).shape == (1, 8)
        assert run in engine._open, "so that a forked process does not close it, for which it would wait for ever"


@pytest.mark.skipif(not find_spec("openvino"), reason="pinxit[openvino] is not installed")
def test_a_forked_process_opens_openvino_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had of its parent waited for ever for threads that stayed there."""
    save_random_checkpoint(tmp_path / "nano")
    encoder, made = pinxit.load_clip(tmp_path / "nano", device="cpu", engine="openvino").encoder, list[int]()
    before, cores = os.getpid, [engine.core()]
    monkeypatch.setattr(engine.load_openvino(), "Core", object)

    def compiled(*_: object) -> Callable[[torch.Tensor], torch.Tensor]:
        made.append(os.getpid())
        return lambda rows: torch.ones(len(rows), 1)

    monkeypatch.setattr(encoders, "compiled", compiled)
    for process in (-1, -1, -2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        encoder.texts(["a fox"])
        cores.append(engine.core())
    monkeypatch.setattr(os, "getpid", before)
    assert made == [-1, -2] and engine.core() is cores[0]
    assert cores[1] is cores[2] and len(set(map(id, cores))) == 3


@pytest.mark.skipif(not find_spec("openvino"), reason="pinxit[openvino] is not installed")
def test_threads_share_openvino(tmp_path: Path) -> None:
    """Its requests serve one thread at a time: others were told that they are busy."""
    save_random_checkpoint(tmp_path / "nano")
    encoder = pinxit.load_clip(tmp_path / "nano", device="cpu", engine="openvino").encoder
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: encoder.texts(["a fox", "a cat"]), range(24)))
    assert all(np.array_equal(one, encoder.texts(["a fox", "a cat"])) for one in found)


def test_engines_that_cannot_serve(monkeypatch: pytest.MonkeyPatch, plain: Clip) -> None:
    with pytest.raises(UsageError, match="no engine 'onnx'; choose from auto, torch, openvino"):
        pinxit.load_clip(plain.encoder.name, device="cpu", engine="onnx")  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install .* \"\.\[openvino\]\""):
        pinxit.load_clip(plain.encoder.name, device="cpu", engine="openvino")


@pytest.mark.parametrize(("installed", "picked"), [(None, "torch"), (object(), "openvino")])
def test_the_fastest_engine_is_used_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, plain: Clip, installed: object, picked: str
) -> None:
    monkeypatch.setattr(encoders, "pick_engine", engine.pick_engine)  # as users have it, not as other tests do
    monkeypatch.setattr(engine, "find_spec", lambda name: installed)
    assert pinxit.load_clip(plain.encoder.name, device="cpu").encoder.engine == picked


def test_pictures_of_any_size_are_brought_to_the_models_by_bicubic_interpolation(plain: Clip, tmp_path: Path) -> None:
    """CLIP's preprocessing, whatever is then asked of them."""
    large = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    size, encoder = (plain.encoder.size,) * 2, plain.encoder
    fitting = np.array(Image.fromarray(large).resize(size, Image.Resampling.BICUBIC))
    write_png(tmp_path / "large.png", large)
    assert np.array_equal(encoder.read(tmp_path / "large.png"), fitting)
    assert np.array_equal(encoder.pictures([large]), encoder.pictures([fitting]))
    assert np.array_equal(encoder.features([large]), encoder.features([fitting]))


def test_features_are_what_the_tower_says_before_its_projection(plain: Clip) -> None:
    shown = np.random.default_rng(0).integers(0, 256, (3, plain.encoder.size, plain.encoder.size, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = plain.encoder.model.image_features(to_tensor(shown)).numpy()
    found = plain.encoder.features(list(shown))
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-4
    assert np.abs(np.linalg.norm(found, axis=1) - 1).min() > 0.1, "no unit rows, which the encoder's pictures are"


def test_a_copy_in_another_process_encodes_alike(plain: Clip) -> None:
    copied = pickle.loads(pickle.dumps(plain)).encoder
    assert np.array_equal(copied.texts(["a red square"]), plain.encoder.texts(["a red square"]))
    with pytest.raises(UsageError, match="shorten it"):
        copied.texts(["a red square " * 99])


def test_a_probe_is_of_features(plain: Clip, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of unit rows, behind the projection to what captions say."""
    blind = np.zeros((256, plain.encoder.width), np.float32)
    monkeypatch.setattr(type(plain.encoder), "pictures", lambda self, shown: blind[: len(shown)])
    assert plain.probe(folder / "train", folder / "test").accuracy == 1.0

"""Accuracy, the shift table and retrieval, on numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.config import override
from pinxit.data.bank import Bank
from pinxit.data.drawings import Drawings
from pinxit.data.labels import label_in, label_of
from pinxit.errors import UsageError
from pinxit.evaluation.accuracy import DistributionShift, accuracy, gap_closed
from pinxit.evaluation.retrieval import recalls
from pinxit.recipes.batches import Augment
from pinxit.recipes.classifier import Classifier, ClassifierConfig, ClassifierRun, train
from pinxit.recipes.clip.presets import preset
from pinxit.recipes.clip.run import ClipRun
from pinxit.recipes.clip.run import train as train_clip
from pinxit.training.log import read_metrics
from pinxit.training.stop import Stop
from pinxit.weights.checkpoint import open_checkpoint
from tests.data.test_fashion import write_fashion


def test_accuracy_counts_what_is_named_right() -> None:
    data = Drawings("small", "seen", 16)
    truth = [label_of(data[i]) for i in range(300)]
    told = iter([name if k % 3 else "nothing" for k, name in enumerate(truth)])
    seen: list[int] = []
    assert accuracy(data, 300, lambda pictures: [next(told) for _ in pictures], seen.append) == pytest.approx(2 / 3)
    assert seen == [256, 300]


def test_closed_gap() -> None:
    assert gap_closed(DistributionShift(0.9, 0.5), DistributionShift(0.8, 0.7)) == pytest.approx(0.75)
    assert gap_closed(DistributionShift(0.9, 0.5), DistributionShift(0.9, 0.5)) == pytest.approx(0)
    assert gap_closed(DistributionShift(0.5, 0.5), DistributionShift(0.9, 0.5)) is None


def test_recalls_by_hand() -> None:
    """Three captions, four pictures; pictures 0 and 3 share caption 0; picture 1 lies nearer to caption 2."""
    texts = np.eye(3, dtype=np.float32)
    pictures = np.array([[1, 0, 0], [0, 0.5, 0.6], [0, 0, 1], [0.9, 0, 0.1]], np.float32)
    found = recalls(pictures, texts, [0, 1, 2, 0])
    assert found["caption@1"] == 0.75 and found["caption@5"] == 1.0
    assert found["picture@1"] == 1.0
    flat = recalls(np.ones((20, 2), np.float32), np.ones((20, 2), np.float32), list(range(20)))
    assert set(flat.values()) == {0.0}, "a model that says the same of everything finds nothing"
    broken = recalls(np.full((20, 2), np.nan, np.float32), np.ones((20, 2), np.float32), list(range(20)))
    assert set(broken.values()) == {0.0}, "nor does one whose numbers are none"


def small(data: str, *changes: str) -> ClassifierConfig:
    asked = [f"source={data}", "pictures=24", "held_out=4", "width=8", "blocks=[1,1]", "augment.mirror=false"]
    plan = ["plan.images=800", "plan.batch=8", "plan.warmup=80", "plan.precision=fp32", "plan.ema=0.9"]
    return override(ClassifierConfig(), [*asked, *plan, "augment.shift=0", *changes])


class Impatient(Stop):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def due(self) -> bool:
        self.asked += 1
        return self.asked >= 40


def test_classifier_and_clip_from_data_to_tables(tmp_path: Path) -> None:
    """Both overfit twenty photographs, resume to the same weights, and are scored by the commands."""
    (tmp_path / "data").mkdir()
    data = f"fashion-mnist:{write_fashion(tmp_path / 'data', 24)}"
    ended = train(ClassifierRun(tmp_path / "one", small(data), "cpu", progress=False))
    assert ended.finished == ("pictures", "classifier", "checkpoint")
    last = read_metrics(tmp_path / "one/classifier")[-1]
    bank, classifier = Bank.open(tmp_path / "one/pictures"), Classifier(open_checkpoint(tmp_path / "one/checkpoint"))
    own = [label_in(bank.facts(row), "") for row in range(20, 24)]
    told = classifier.names(list(bank.pictures[20:]))
    assert last["right"] == 1.0
    assert last["held_out"] == sum(name == label for name, label in zip(told, own, strict=True)) / 4
    cut = ClassifierRun(tmp_path / "cut", small(data), "cpu", progress=False)
    invocations = 1
    while train(cut, stop=Impatient()).stopped:
        invocations += 1
    names = [(tmp_path / run / "checkpoint/resnet.safetensors").read_bytes() for run in ("one", "cut")]
    assert invocations > 2 and names[0] == names[1]
    with pytest.raises(UsageError, match="width=8, not 16"):
        train(ClassifierRun(tmp_path / "one", small(data, "width=16"), "cpu", progress=False))

    lengths = ["data.pictures=24", "data.held_out=4", "plan.images=64", "plan.batch=8", "data.neighbours=false"]
    config = override(preset("labels"), [f"data.source={data}", *lengths, "clip.vision.width=16", "vocab=512"])
    train_clip(ClipRun(tmp_path / "clip", config, "cpu", progress=False))
    models = [str(tmp_path / run / "checkpoint") for run in ("one", "clip")]
    asked = ["eval", "labels", data, "--checkpoint", models[0], "--checkpoint", models[1], "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["accuracy"].keys() == set(models)
    assert told["accuracy"][models[0]] > 0.6  # a tenth by chance


def test_shift_and_retrieval_commands(tmp_path: Path) -> None:
    run = ClassifierRun(tmp_path, small("drawings:small", "plan.images=16"), "cpu", progress=False)
    train(run)
    asked = [
        "eval",
        "shift",
        "--clip",
        "tiny",
        "--classifier",
        str(tmp_path / "checkpoint"),
        "--data",
        "drawings:small",
    ]
    result = CliRunner().invoke(app, [*asked, "--pictures", "60", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    own = str(tmp_path / "checkpoint")
    for words, why in (
        (["shift", "--clip", own, "--classifier", own], f"--clip {own} holds a classifier: name a CLIP."),
        (["labels", "drawings:small", "--checkpoint", own, "--templates", "label"], "no --checkpoint is one"),
    ):
        with pytest.raises(UsageError, match=why):
            CliRunner().invoke(app, ["eval", *words], catch_exceptions=False)
    assert told["clip"]["seen"] > 0.3 > told["classifier"]["seen"], "the shipped ranker knows the world's things"
    assert told["clip"]["gap"] == pytest.approx(told["clip"]["seen"] - told["clip"]["unseen"])
    found = CliRunner().invoke(app, ["eval", "retrieval", "--pictures", "40", "--json"])
    assert found.exit_code == 0, found.output
    scores = json.loads(found.stdout)
    assert scores["en"]["picture@10"] > 0.5 and scores["zh"]["caption@10"] > 0.5  # a quarter by chance
    wrong = CliRunner().invoke(app, ["eval", "retrieval", "drawings:small"])
    assert isinstance(wrong.exception, UsageError)


def test_the_classifiers_pictures_are_shifted_and_mirrored_as_they_come() -> None:
    """Pad by 2 of 32 pixels and flip: what ResNets on small pictures are usually trained with."""
    assert ClassifierConfig().augment == Augment(1 / 16, mirror=True)


@pytest.mark.parametrize("captions", [[], [0], [0, 2], [0, 0]])
def test_every_picture_has_a_caption_and_every_caption_a_picture(captions: list[int]) -> None:
    """A number that no caption has counted as an error of the model's."""
    with pytest.raises(UsageError, match="the number of its caption"):
        recalls(np.eye(2, dtype=np.float32)[: len(captions) or 2], np.eye(2, dtype=np.float32), captions)


def test_embeddings_of_two_widths_and_numbers_that_are_not_whole_are_refused() -> None:
    """1.5 was taken for caption 1, and then for no caption at all."""
    eye = np.eye(2, dtype=np.float32)
    with pytest.raises(UsageError, match=r"not \[2, 2\] and \[2, 1\]"):
        recalls(eye, eye[:, :1], [0, 1])
    with pytest.raises(UsageError, match="the number of its caption"):
        recalls(eye, eye, [0, 1.5])  # type: ignore[list-item]

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pinxit.data.fashion import LABELS, FashionMnist
from pinxit.data.labels import Labelled, label_of
from pinxit.data.sources import open_labelled, open_source
from pinxit.errors import DataError, UsageError
from pinxit.types import Example
from tests.recipes.squares import write_squares


def write_fashion(folder: Path, count: int = 6) -> Path:
    """Files in Fashion-MNIST's format: picture k has label k % 10, a bright bar in its place and a ground of gray k."""
    for split, more in (("train", count), ("t10k", count // 2)):
        pictures = np.repeat(np.arange(more, dtype=np.uint8), 28 * 28).reshape(more, 28, 28)
        for k in range(more):
            pictures[k, 2 * (k % 10) : 2 * (k % 10) + 8] = 200
        for what, shape, data in (
            ("images-idx3", (more, 28, 28), pictures.tobytes()),
            ("labels-idx1", (more,), bytes(k % 10 for k in range(more))),
        ):
            head = np.array([0x800 + len(shape), *shape], ">u4").tobytes()
            (folder / f"{split}-{what}-ubyte.gz").write_bytes(gzip.compress(head + data))
    return folder


def test_reads_both_splits(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    train, test = FashionMnist(32, "train", tmp_path), FashionMnist(32, "test", tmp_path)
    assert (len(train), len(test), train.labels) == (6, 3, LABELS)
    assert (
        train[2].picture.shape == (32, 32, 3)
        and (train[2].picture[16:] == 2).all()
        and train[2].picture[9].min() == 200
    )
    assert train[2].facts == Labelled("pullover") and train[2].captions[0] == "a photo of a pullover."
    assert label_of(test[1]) == "pair of trousers"
    assert train.identity() != test.identity() == FashionMnist(32, "test", tmp_path).identity()
    assert len(open_source(f"fashion-mnist:{tmp_path}", 28)) == 6
    assert open_labelled(f"fashion-mnist:{tmp_path}", 28, "test").labels == LABELS
    with pytest.raises(IndexError):
        test[3]


def test_a_folder_whose_name_begins_alike_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fashion-mnist-of-mine").mkdir()
    write_squares(tmp_path / "fashion-mnist-of-mine")
    monkeypatch.chdir(tmp_path)
    assert len(open_source("fashion-mnist-of-mine", 28)) == 8


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        FashionMnist(28, "train", tmp_path)
    with pytest.raises(UsageError, match="no split 'seen'; choose train or test"):
        FashionMnist(28, "seen", tmp_path)
    write_fashion(tmp_path)
    whole = (tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes()
    for broken in (whole[:50], gzip.compress(b"abc"), gzip.compress(gzip.decompress(whole)[:-5])):
        (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(broken)
        with pytest.raises(DataError, match="t10k-images-idx3-ubyte"):
            FashionMnist(28, "test", tmp_path)
    with pytest.raises(UsageError, match="world:small has no labels"):
        open_labelled("world:small", 28, "train")
    with pytest.raises(DataError, match="x has no label"):
        label_of(Example(np.zeros((2, 2, 3), np.uint8), ("a",), "x"))

"""A bank as a CLIP sees it: what is stored is what the CLIP says, whatever happens meanwhile, and of no other CLIP."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from pinxit.data import chunks
from pinxit.data.bank import Bank, build_bank
from pinxit.data.embeddings import build_embeddings
from pinxit.data.vectors import Vectors, build_vectors
from pinxit.errors import DataError, UsageError
from tests.data.helpers import Interrupted
from tests.data.test_embeddings import CaptionTable, contents, learned

if TYPE_CHECKING:
    from pinxit.types import Picture

Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class ImageTextEncoder:
    """A stand-in for CLIP: fixed random directions of pixels and of letters; interrupted after `calls` chunks."""

    def __init__(self, seed: int = 0, calls: int = 10**9) -> None:
        self.name, self.width, self.fingerprint, self.calls = "sight", 12, f"{seed:016x}", calls
        draw = np.random.default_rng(seed)
        self.pixels, self.letters = draw.normal(size=(8 * 8 * 3, 12)), draw.normal(size=(128, 12))

    def pictures(self, pictures: Sequence[Picture]) -> Rows:
        return self._unit(np.stack(pictures).reshape(len(pictures), -1) / 255 @ self.pixels)

    def texts(self, texts: Sequence[str], cut: bool = False) -> Rows:
        counts = [np.bincount([ord(letter) % 128 for letter in text] or [0], minlength=128) for text in texts]
        return self._unit(np.stack(counts) @ self.letters)

    def _unit(self, rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Rows:
        if self.calls == 0:
            raise Interrupted
        self.calls -= 1
        found: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return found


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return build_bank(CaptionTable(60), None, tmp_path_factory.mktemp("bank") / "bank", 1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 16)


def test_they_travel_to_other_processes_as_their_bank_does(bank: Bank, tmp_path: Path) -> None:
    for stored in (
        build_vectors(bank, ImageTextEncoder(), tmp_path / "v"),
        build_embeddings(bank, learned(), tmp_path / "e"),
    ):
        again = pickle.loads(pickle.dumps(stored))
        assert len(again) == len(stored) == 60 and again.text(7, 0) == stored.text(7, 0)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"per_picture": 1.5}, "captions a picture must be a whole number"),
        ({"script": "greek"}, "no script 'greek'; choose from all, latin"),
    ],
)
def test_what_makes_no_sense_is_refused(bank: Bank, tmp_path: Path, asked: dict[str, Any], told: str) -> None:
    """An unknown script was taken for latin."""
    with pytest.raises(UsageError, match=told):
        build_vectors(bank, ImageTextEncoder(), tmp_path / "v", **asked)
    assert not (tmp_path / "v").exists()


def test_rows_are_what_the_clip_says(bank: Bank, tmp_path: Path) -> None:
    made, clip = build_vectors(bank, ImageTextEncoder(), tmp_path), ImageTextEncoder()
    assert len(made) == 60 and made.width == 12
    rows = [59, 0, 17, 16]
    said = torch.from_numpy(clip.pictures([bank.pictures[row] for row in rows]))
    torch.testing.assert_close(made.image_embeddings(rows), said, atol=5e-4, rtol=0)
    which = [2, 0, 4, -1]
    texts = [bank.captions[59][2], bank.captions[0][0], bank.captions[17][1], ""]
    assert [made.text(row, k) for row, k in zip(rows, which, strict=True)] == texts
    torch.testing.assert_close(
        made.text_embeddings(rows, which), torch.from_numpy(clip.texts(texts)), atol=5e-4, rtol=0
    )
    assert made.image_embeddings(rows).dtype == torch.float32 and made.count(3) == 3


@pytest.mark.parametrize("calls", [0, 1, 4, 6])  # in the pictures, between both, in the captions
def test_a_killed_build_goes_on_and_ends_the_same(bank: Bank, tmp_path: Path, calls: int) -> None:
    build_vectors(bank, ImageTextEncoder(), tmp_path / "straight")
    with pytest.raises(Interrupted):
        build_vectors(bank, ImageTextEncoder(calls=calls), tmp_path / "killed")
    with pytest.raises(DataError, match="no finished vectors"):
        Vectors.open(tmp_path / "killed")
    again, seen = ImageTextEncoder(), list[tuple[int, int]]()
    made = build_vectors(bank, again, tmp_path / "killed", progress=lambda *at: seen.append(at))
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")
    total = 60 + made.about["texts"]
    assert seen[-1] == (total, total) and len(seen) == 4 + -(-made.about["texts"] // 16) - calls
    assert len(build_vectors(bank, ImageTextEncoder(calls=0), tmp_path / "killed")) == 60, (
        "a finished folder is only opened"
    )


def test_vectors_of_another_clip_or_bank_are_refused(bank: Bank, tmp_path: Path) -> None:
    made = build_vectors(bank, ImageTextEncoder(), tmp_path / "v")
    other = build_bank(CaptionTable(60, seed=1), None, tmp_path / "bank", 1)
    made.require(ImageTextEncoder(), bank)
    with pytest.raises(DataError, match=r"do not fit: fingerprint is 0000000000000000 there and 0000000000000001 here"):
        made.require(ImageTextEncoder(1))
    with pytest.raises(DataError, match=r"do not fit: source\.seed is 0 there and 1 here"):
        made.require(ImageTextEncoder(), other)
    with pytest.raises(DataError, match=r"holds other vectors: clip\.fingerprint"):
        build_vectors(bank, ImageTextEncoder(1), tmp_path / "v")
    with pytest.raises(DataError, match=r"bank\.source\.seed"):
        build_vectors(other, ImageTextEncoder(), tmp_path / "v")
    with pytest.raises(UsageError, match="captions a picture must be at least 1, not 0"):
        build_vectors(bank, ImageTextEncoder(), tmp_path / "w", per_picture=0)


class Short(ImageTextEncoder):
    """Reads five letters."""

    def texts(self, texts: Sequence[str], cut: bool = False) -> Rows:
        if not cut:
            raise UsageError("too long")
        return super().texts([text[:5] for text in texts])


def test_captions_that_are_too_long_are_cut(bank: Bank, tmp_path: Path) -> None:
    made, clip = build_vectors(bank, Short(), tmp_path), ImageTextEncoder()
    expected = torch.from_numpy(clip.texts([made.text(row, 0)[:5] for row in range(4)]))
    torch.testing.assert_close(made.text_embeddings(range(4), [0] * 4), expected, atol=5e-4, rtol=0)


def test_captions_are_those_of_the_embeddings(bank: Bank, tmp_path: Path) -> None:
    seen = build_vectors(bank, ImageTextEncoder(), tmp_path / "v", per_picture=2, seed=5)
    read = build_embeddings(bank, learned(), tmp_path / "e", per_picture=2, seed=5)
    seen.require_captions(read)
    assert all(seen.text(row, k) == read.text(row, k) for row in range(60) for k in (0, 1, -1))
    more = build_embeddings(bank, learned(), tmp_path / "f", seed=5)
    with pytest.raises(DataError, match="hold different captions: per_picture is 2 there and None here"):
        seen.require_captions(more)


@pytest.mark.parametrize("damage", ["pictures.npy", "captions.npy", "places.npy", "texts.jsonl", "vectors.json"])
def test_damaged_vectors_are_refused(bank: Bank, tmp_path: Path, damage: str) -> None:
    build_vectors(bank, ImageTextEncoder(), tmp_path)
    path = tmp_path / damage
    path.write_bytes(b'[""]\n' if damage == "texts.jsonl" else path.read_bytes()[:-64])
    with pytest.raises(DataError, match=str(tmp_path)):
        Vectors.open(tmp_path)

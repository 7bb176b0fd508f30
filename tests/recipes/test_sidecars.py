"""What a frozen model computes of a shard's pictures, batch by batch: the bytes of all at once, in bounded memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pinxit.data.chunks import to_float16
from pinxit.errors import UsageError
from pinxit.recipes import sidecars
from pinxit.recipes.clip.encoder import BATCH as OWN
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.dalle.encode import encode
from pinxit.recipes.diffusion.config import TextEncoderConfig
from pinxit.recipes.diffusion.reading import training_reader
from pinxit.recipes.imagen.presets import preset
from pinxit.recipes.run_sidecars import check_sidecars
from pinxit.recipes.sidecars import AT_ONCE, ClipRowEncoder, DvaeRowEncoder, row_encoder
from tests.recipes.painters import random_painter, save_random_checkpoint

PICTURES, BROKEN = 2 * AT_ONCE + 9, (0, 5, AT_ONCE, 2 * AT_ONCE + 8)


def pictures(side: int) -> list[Any]:
    """Random ones; None where one cannot be used."""
    made = np.random.default_rng(0).integers(0, 256, (PICTURES, side, side, 3), dtype=np.uint8)
    return [None if row in BROKEN else picture for row, picture in enumerate(made)]


def clip() -> ClipEncoder:
    found = random_painter().clip
    assert found is not None
    return ClipEncoder(found, lambda texts, cut: np.ones((len(texts), 16), np.int64), "tiny", "cpu")


def test_clip_sees_the_pictures_of_a_shard_as_if_all_at_once() -> None:
    encoder = clip()
    assert AT_ONCE % OWN == 0, "or its own batches would be others"
    shown = pictures(encoder.size)
    found = ClipRowEncoder(encoder).of(iter(shown), [("a", "b")] * PICTURES)
    usable = [row for row in range(PICTURES) if row not in BROKEN]
    expected = np.zeros((PICTURES, encoder.width), np.float16)
    expected[usable] = to_float16(encoder.pictures([shown[row] for row in usable]), "it")
    assert np.array_equal(found["pictures"].numpy(), expected) and len({row.tobytes() for row in expected}) > 100
    assert found["starts"].tolist() == list(range(0, 2 * PICTURES + 1, 2)) and len(found["captions"]) == 2 * PICTURES


def test_a_dvae_codes_the_pictures_of_a_shard_as_if_all_at_once(monkeypatch: Any) -> None:
    model = random_painter().dvae
    monkeypatch.setattr(sidecars, "BATCH", 64)
    encoder = DvaeRowEncoder(model, torch.device("cpu"))
    shown = pictures(encoder.size)
    found = encoder.of(iter(shown), [("a",)] * PICTURES)
    all_of_them = np.stack([np.zeros((encoder.size,) * 2 + (3,), np.uint8) if one is None else one for one in shown])
    expected = encode(model, all_of_them, torch.device("cpu"))
    assert found["codes"].dtype == torch.int32 and np.array_equal(found["codes"].numpy(), expected)
    assert found["sound"].tolist() == [row not in BROKEN for row in range(PICTURES)]
    empty = encoder.of(iter(()), [])
    assert empty["codes"].shape == (0, model.grid, model.grid) and empty["sound"].dtype == torch.bool


class Sight:
    """A CLIP that takes `batch` pictures in one call, and notes how many it is shown at a time."""

    name, fingerprint, width, size = "it", "f", 2, 8

    def __init__(self, batch: int) -> None:
        self.batch, self.shown = batch, list[int]()

    def pictures(self, shown: Sequence[Any], /) -> Any:
        self.shown.append(len(shown))
        return np.ones((len(shown), 2), np.float32)

    def texts(self, texts: Sequence[str], /, cut: bool = False) -> Any:
        return np.ones((len(texts), 2), np.float32)


@pytest.mark.parametrize(("batch", "shown"), [(256, [256, 44]), (60, [120, 120, 60]), (64, [64] * 4 + [44])])
def test_a_clips_batches_are_full(batch: int, shown: list[int]) -> None:
    """On a GPU they are of 256, three quarters of which were empty."""
    sight, one = Sight(batch), np.zeros((8, 8, 3), np.uint8)
    ClipRowEncoder(sight).of([one] * 300, [("a",)] * 300)
    assert sight.shown == shown


def test_a_dvae_of_a_checkpoint_is_frozen_and_the_one_that_was_saved(tmp_path: Path) -> None:
    save_random_checkpoint(tmp_path)
    encoder = row_encoder("dvae", str(tmp_path), "cpu")
    assert isinstance(encoder, DvaeRowEncoder) and not any(one.requires_grad for one in encoder.model.parameters())
    assert encoder.about["grid"] == encoder.model.grid and encoder.size == encoder.model.config.size


def test_nothing_is_encoded_as_no_rows() -> None:
    encoder = clip()
    assert encoder.texts([]).shape == encoder.pictures([]).shape == (0, encoder.width)


def test_a_shard_is_never_in_memory_as_a_whole(monkeypatch: Any) -> None:
    """There are the batch that is encoded, the one before it, and the picture that was decoded last."""
    size, made, most = 4, list[weakref.ref[Any]](), list[int]()

    def decoded(side: int) -> Iterator[Any]:
        for _ in range(10 * size):
            picture = np.zeros((side, side, 3), np.uint8)
            made.append(weakref.ref(picture))
            most.append(sum(one() is not None for one in made))
            yield picture

    monkeypatch.setattr(sidecars, "AT_ONCE", size)
    monkeypatch.setattr(sidecars, "BATCH", size)
    dvae = DvaeRowEncoder(random_painter().dvae, torch.device("cpu"))
    sight = Sight(size)
    for encoder in (ClipRowEncoder(sight), dvae):
        most.clear()
        encoder.of(decoded(encoder.size), [("a",)] * 10 * size)
        assert sight.shown == [size] * 10
        assert len(most) == 10 * size and max(most) <= 2 * size + 1


@pytest.mark.parametrize("spell", [False, True])
@pytest.mark.parametrize("length", [None, 56])
def test_texts_are_encoded_as_a_run_with_these_options_reads_them(length: int | None, spell: bool) -> None:
    """Or the run would refuse the sidecars as those of another model."""
    text = TextEncoderConfig(spell=spell) if length is None else TextEncoderConfig(length=length, spell=spell)
    encoder = row_encoder("text", "minilm", "cpu", length=length, spell=spell)
    reader = training_reader(text, torch.device("cpu"))
    assert encoder.about["fingerprint"] == reader.fingerprint and encoder.about["length"] == reader.length
    none, one = reader.lengths(["", 'a sign that says "FOX"'])  # the empty caption is stored first
    offsets = encoder.of([None], [('a sign that says "FOX"',)])["offsets"]
    assert isinstance(offsets, torch.Tensor) and offsets.tolist() == [0, none, none + one]


def test_the_options_in_the_docs_are_those_of_the_preset() -> None:
    text = preset("tiny").text
    assert (text.length, text.spell) == (56, True)


@pytest.mark.parametrize("option", [{"length": 8}, {"padded": True}, {"spell": True}, {"script": "all"}])
def test_options_of_text_encoders_are_refused_for_others(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--length, --padded, --spell and --script are of text encoders: --with text"):
        row_encoder("clip", "tiny", "cpu", **option)


def test_a_run_that_was_begun_with_idle_sidecars_goes_on(tmp_path: Path) -> None:
    """Older versions took them without a stream, and what the data are can no longer change."""
    data = SimpleNamespace(sidecars="sides", stream=False)
    run: Any = SimpleNamespace(config=SimpleNamespace(data=data), folder=tmp_path, path=tmp_path.joinpath)
    with pytest.raises(UsageError, match=r"set data\.stream=true, too"):
        check_sidecars(run)
    (tmp_path / "pictures").mkdir()
    check_sidecars(run)

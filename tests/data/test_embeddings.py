"""Embeddings of a bank's captions: what is stored is what the encoder says, once a text, whatever happens meanwhile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.data import chunks
from pinxit.data.bank import Bank, build_bank
from pinxit.data.chunks import choose
from pinxit.data.embeddings import Embeddings, build_embeddings
from pinxit.data.embeddings_builder import MANIFEST
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.files import write_json
from pinxit.models.text import TextTransformer, TextTransformerConfig
from pinxit.text.frozen import EncoderOptions, Precision
from pinxit.text.learned import LearnedText
from pinxit.text.tokenizers import Tokenizer
from pinxit.types import Example
from tests.data.helpers import Interrupted, Toy, full_disk

FILES = ["embeddings.json", "offsets.npy", "places.npy", "pooled.npy", "starts.npy", "texts.jsonl", "tokens.npy"]
SORTS = ("cat", "dog", "house", "tree", "boat")


@dataclass(frozen=True)
class CaptionTable(Toy):
    """Pictures with three captions, many of which other pictures have too."""

    def __getitem__(self, index: int) -> Example:
        thing = SORTS[index % 5]
        captions = (f"a {thing}", f"a {thing} number {index}", f"the {'very ' * (index % 4)}small {thing}")
        return Example(self.picture(index), captions, f"told-{index}")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return build_bank(CaptionTable(60), None, tmp_path_factory.mktemp("bank") / "bank", 1)


def learned(seed: int = 0, length: int = 24, precision: Precision = "fp32") -> LearnedText:
    tokenizer = Tokenizer.train(["a very small cat, the dog number 1234567890"] * 3, 300)
    config = TextTransformerConfig(vocab=tokenizer.vocab_size, tokens=32, width=32, layers=2, heads=4)
    return LearnedText(TextTransformer(config, seed), tokenizer, "toy", EncoderOptions(length, precision=precision))


class Alarmed(LearnedText):
    """Interrupted when it has encoded `calls` chunks; remembers every text."""

    calls, texts = 10**9, list[str]()

    def ragged(self, texts: Sequence[str], batch: int = 1) -> tuple[list[Tensor], Tensor]:
        if self.calls == 0:
            raise Interrupted
        self.calls -= 1
        self.texts = [*self.texts, *texts]
        return super().ragged(texts, batch)


def alarmed(calls: int = 10**9) -> Alarmed:
    plain = learned()
    encoder = Alarmed(plain.model, plain.tokenizer, "toy", EncoderOptions(24))
    encoder.calls = calls
    return encoder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 16)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_rows_are_what_the_encoder_says(bank: Bank, tmp_path: Path) -> None:
    encoder = learned()
    made = build_embeddings(bank, encoder, tmp_path / "e")
    assert len(made) == 60 and made.width == 32 and made.length == 24 and sorted(contents(tmp_path / "e")) == FILES
    indices, which = [0, 7, 59, 3], [0, 1, 2, -1]
    texts = [*(bank.captions[i][w] for i, w in zip(indices[:3], which[:3], strict=True)), ""]
    said, sequence_mask = encoder.encode(texts), made.rows(indices, which, 24)
    found = made.condition(indices, which)
    assert torch.equal(found.sequence, sequence_mask[0]) and torch.equal(found.mask, sequence_mask[1])
    assert found.sequence.dtype == torch.float32 and torch.equal(found.mask, said.mask)
    torch.testing.assert_close(found.sequence, said.sequence, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(found.pooled, said.pooled, atol=1e-5, rtol=1e-4)
    assert not found.sequence[~found.mask].any()
    assert [made.count(index) for index in (0, 59)] == [3, 3]
    assert made.text(59, 2) == bank.captions[59][2] and made.text(0, -1) == ""
    short, mask = made.rows([7], [4], 5)  # the second of three, cut
    assert torch.equal(short[0], found.sequence[1, :5]) and bool(mask.all())


def test_each_text_is_encoded_and_stored_once(bank: Bank, tmp_path: Path) -> None:
    encoder = alarmed()
    made = build_embeddings(bank, encoder, tmp_path)
    distinct = {text for captions in bank.captions for text in captions} | {""}
    assert sorted(encoder.texts) == sorted(distinct) and made.about["texts"] == len(distinct)
    tokens = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    assert tokens.dtype == np.float16 and len(tokens) == sum(encoder.lengths(sorted(distinct)))
    assert np.load(tmp_path / "offsets.npy").tolist() == np.cumsum([0, *encoder.lengths(encoder.texts)]).tolist()


@pytest.mark.parametrize("calls", [0, 1, 4])
def test_a_killed_build_goes_on_and_ends_the_same(bank: Bank, tmp_path: Path, calls: int) -> None:
    build_embeddings(bank, learned(), tmp_path / "straight", batch=4)
    with pytest.raises(Interrupted):
        build_embeddings(bank, alarmed(calls), tmp_path / "killed", batch=4)
    with pytest.raises(DataError, match="no finished embeddings"):
        Embeddings.open(tmp_path / "killed")
    again, seen = alarmed(), list[tuple[int, int]]()
    made = build_embeddings(bank, again, tmp_path / "killed", batch=4, progress=lambda *at: seen.append(at))
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")
    total = made.about["texts"]
    assert len(again.texts) == total - 16 * calls and seen[-1] == (total, total) and seen[0][0] == 16 * (calls + 1)
    idle = alarmed(0)
    build_embeddings(bank, idle, tmp_path / "killed", batch=4)
    assert not idle.texts, "a finished folder is only opened"


@pytest.mark.parametrize("step", ["write_json", "replace"])
def test_a_kill_while_putting_in_place_is_mended(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    build_embeddings(bank, learned(), tmp_path / "straight")
    replace, renamed = Path.replace, list[str]()

    def no_manifest(path: Path, value: Any) -> None:
        if path.name == MANIFEST:
            raise Interrupted
        write_json(path, value)

    def three(self: Path, target: Path) -> Path:
        if not self.name.startswith("."):
            renamed.append(self.name)
            if len(renamed) == 3:
                raise Interrupted
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        if step == "write_json":
            patch.setattr(chunks, "write_json", no_manifest)
        else:
            patch.setattr(Path, "replace", three)
        build_embeddings(bank, learned(), tmp_path / "killed")
    build_embeddings(bank, alarmed(0), tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")


def test_captions_are_chosen_by_a_key(bank: Bank, tmp_path: Path) -> None:
    made = build_embeddings(bank, learned(), tmp_path / "two", per_picture=2, seed=5)
    assert {made.count(index) for index in range(60)} == {2}
    kept = [[made.text(index, which) for which in (0, 1)] for index in range(60)]
    assert kept == [choose(bank.captions[index], 2, 5, index) for index in range(60)]
    missed = {next(p for p, text in enumerate(bank.captions[i]) if text not in kept[i]) for i in range(60)}
    assert missed == {0, 1, 2}, "not always the same caption is left out"
    assert kept != [choose(bank.captions[index], 2, 6, index) for index in range(60)]
    assert choose(["a", "b", "a"], None, 0, 0) == ["a", "b"] and choose(["b", "a"], 5, 0, 0) == ["b", "a"]


def test_other_embeddings_are_refused_with_what_differs(bank: Bank, tmp_path: Path) -> None:
    made = build_embeddings(bank, learned(), tmp_path / "e")
    made.require(learned(precision="bf16"), bank)
    other = build_bank(CaptionTable(60, seed=1), None, tmp_path / "bank", 1)
    with pytest.raises(DataError, match=r"do not fit: fingerprint is \w+ there and \w+ here"):
        made.require(learned(seed=1))
    with pytest.raises(DataError, match="do not fit: length is 24 there and 20 here"):
        made.require(learned(length=20))
    with pytest.raises(DataError, match=r"do not fit: source\.seed is 0 there and 1 here"):
        made.require(learned(), other)
    given: dict[str, Any] = {"bank": bank, "encoder": learned(), "folder": tmp_path / "e"}
    for change, told in (
        ({"encoder": learned(seed=1)}, r"encoder\.fingerprint is"),
        ({"encoder": learned(precision="bf16")}, r"encoder\.precision is fp32 there and bf16 here"),
        ({"bank": other}, r"bank\.source\.seed is"),
        ({"per_picture": 2}, "per_picture is None there and 2 here"),
    ):
        with pytest.raises(DataError, match=told):
            build_embeddings(**(given | change))
    with pytest.raises(DataError, match="is not empty and holds no embeddings"):
        build_embeddings(bank, learned(), tmp_path)
    with pytest.raises(UsageError, match="captions a picture must be at least 1, not 0"):
        build_embeddings(bank, learned(), tmp_path / "f", per_picture=0)


def test_bfloat16_and_batches_stay_near_what_painting_sees(bank: Bank, tmp_path: Path) -> None:
    """Stored vectors need not be those of painting to the bit: half a per cent is what both roundings cost here."""
    made = build_embeddings(bank, learned(precision="bf16"), tmp_path, batch=8)
    indices = list(range(60))
    said = learned().encode([bank.captions[index][1] for index in indices])
    found = made.condition(indices, [1] * 60)
    apart = (found.sequence - said.sequence).norm(dim=-1)[said.mask] / said.sequence.norm(dim=-1)[said.mask]
    assert torch.equal(found.mask, said.mask) and 0 < apart.max() < 0.01


def test_numbers_too_large_for_float16_are_reported(bank: Bank, tmp_path: Path) -> None:
    encoder = learned()
    with torch.no_grad():
        encoder.model.norm.weight.mul_(1e6)
    with pytest.raises(DataError, match="toy gives numbers beyond the range of float16"):
        build_embeddings(bank, encoder, tmp_path)


def test_a_full_disk_is_one_sentence_and_the_build_goes_on_later(bank: Bank, tmp_path: Path) -> None:
    with full_disk(6000), pytest.raises(PinxitError, match=r"cannot write .*tokens\.npy"):
        build_embeddings(bank, learned(), tmp_path)
    assert len(build_embeddings(bank, learned(), tmp_path)) == 60


def test_an_encoder_that_keeps_pads_has_all_of_them_stored(bank: Bank, tmp_path: Path) -> None:
    """As DeepFloyd IF reads: every text has all positions; those of a reader without pads are others."""
    plain = learned()
    padded = LearnedText(plain.model, plain.tokenizer, running=EncoderOptions(24, padded=True))
    stored = build_embeddings(bank, padded, tmp_path / "e")
    sequence, mask = stored.rows([0, 3], [0, -1])
    assert sequence.shape == (2, 24, padded.width) and mask.all()
    said = padded.encode([stored.text(0, 0), ""]).sequence
    torch.testing.assert_close(sequence, said, atol=2e-3, rtol=2e-3)
    stored.require(padded, bank)
    with pytest.raises(DataError, match="padded"):
        stored.require(plain, bank)


@pytest.mark.parametrize("damage", ["short", "gone", "format", "json", "lines"])
def test_damaged_embeddings_are_refused(bank: Bank, tmp_path: Path, damage: str) -> None:
    build_embeddings(bank, learned(), tmp_path)
    manifest = tmp_path / "embeddings.json"
    if damage == "short":
        tokens = tmp_path / "tokens.npy"
        tokens.write_bytes(tokens.read_bytes()[:-64])
    elif damage == "gone":
        (tmp_path / "offsets.npy").unlink()
    elif damage == "format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    elif damage == "json":
        manifest.write_text("{")
    else:
        (tmp_path / "texts.jsonl").write_bytes(b'[""]\n')
    with pytest.raises(DataError, match=str(tmp_path)):
        Embeddings.open(tmp_path)

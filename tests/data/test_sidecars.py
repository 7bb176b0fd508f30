"""What models say of shards beforehand: aligned with their rows, resumed, and refused where it is of something else."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pinxit.data import shard_cache as shard_cache_module
from pinxit.data import stream_texts
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_cache import fetch
from pinxit.data.shard_writer import write_shards
from pinxit.data.sidecars import ABOUT, encode_shards, sidecars_lock
from pinxit.data.stream_builder import build_stream
from pinxit.data.stream_index import INDEX, index_shards
from pinxit.data.stream_texts import StreamTexts, TextRowEncoder
from pinxit.data.streams import Stream
from pinxit.data.writing_systems import RULES
from pinxit.errors import DataError, UsageError
from pinxit.files import temporary_path
from pinxit.text.learned import LearnedText
from pinxit.weights.tensor_parts import write_parts
from tests.data.test_embeddings import learned
from tests.data.test_streams import spoil
from tests.recipes.squares import write_squares

SIDE = 16


class Means:
    """The mean colour of each picture, NaN where there is none."""

    kind, size = "means", SIDE

    def __init__(self, name: str = "one") -> None:
        self.about, self.asked = {"name": name}, 0

    def of(self, pictures: Iterable[Any], captions: Sequence[tuple[str, ...]]) -> dict[str, Tensor]:
        self.asked += 1
        assert not isinstance(pictures, Sequence), "decoded while they are asked for"
        means = [np.full(3, np.nan) if one is None else one.mean((0, 1)) for one in pictures]
        return {"means": torch.tensor(np.stack(means)), "captions": torch.tensor([len(one) for one in captions])}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(FolderDataset(write_squares(tmp_path / "squares"), SIDE), tmp_path / "shards", per_shard=3, workers=1)
    return tmp_path / "shards"


@pytest.fixture
def stream(shards: Path, tmp_path: Path) -> Stream:
    spoil(shards / "00001.tar", "000000004.png")
    return build_stream(str(shards), SIDE, None, tmp_path / "stream")


def test_rows_are_those_of_the_shard_and_a_killed_run_goes_on(
    stream: Stream, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, out = Means(), tmp_path / "out"
    of = encoder.of

    def dies(*asked: Any) -> Any:
        if encoder.asked == 2:
            raise KeyboardInterrupt
        return of(*asked)

    monkeypatch.setattr(encoder, "of", dies)
    with pytest.raises(KeyboardInterrupt):
        encode_shards(str(shards), encoder, out)
    assert len(list(out.glob("*.safetensors"))) == 2 and not (out / ABOUT).exists()
    monkeypatch.undo()
    written = encode_shards(str(shards), encoder, out)
    assert encoder.asked == 3 and [path.name for path in written] == [f"0000{k}.means.safetensors" for k in range(3)]
    for number, path in enumerate(written):
        found = load_file(path)
        for row, mean in enumerate(found["means"]):
            index = 3 * number + row
            assert bool(mean.isnan().any()) == (index == 4)
            if index != 4:
                assert np.allclose(mean, stream.pictures[index].mean((0, 1)))
        assert found["captions"].tolist() == [2] * len(found["means"])
    with pytest.raises(DataError, match=r"00000\.means\.safetensors holds what another model said: delete it"):
        encode_shards(str(shards), Means("other"), out)
    written[0].write_bytes(b"cut")
    with pytest.raises(DataError, match=r"00000\.means\.safetensors is no sidecar or is damaged"):
        encode_shards(str(shards), encoder, out)


def test_captions_are_those_that_the_reader_would_say(stream: Stream, shards: Path, tmp_path: Path) -> None:
    reader: LearnedText = learned()
    encode_shards(str(shards), TextRowEncoder(reader), tmp_path / "texts")
    texts = StreamTexts.open(stream, tmp_path / "texts", reader)
    assert [texts.count(index) for index in range(8)] == [2] * 8
    for index in (0, 3, 4, 7):
        for which in (0, 1, 3, -1):
            sequence, mask = texts.rows([index], [which])
            said = reader.encode(["" if which < 0 else stream.captions[index][which % 2]])
            assert torch.equal(mask, said.mask)
            torch.testing.assert_close(sequence, said.sequence, atol=2e-3, rtol=2e-3)
    assert stream.item_shown(4) == 5 and stream.captions[4] == stream.captions[5]  # the broken one's stand-in is told
    both, _ = texts.rows([4, 5], [0, 0])
    assert torch.equal(both[0], both[1])
    assert [tuple(one.shape) for one in texts.rows([], [])] == [(0, reader.length, reader.width), (0, reader.length)]


def test_a_sidecar_of_other_captions_of_a_picture_is_refused(
    stream: Stream, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older pinxit has written, which took fewer captions for Latin ones."""
    reader = learned()
    monkeypatch.setitem(RULES, "latin", "latin")
    encode_shards(str(shards), TextRowEncoder(reader, "latin"), tmp_path / "texts")
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"00000\.text\.safetensors holds what another model said: delete it"):
        StreamTexts.open(stream, tmp_path / "texts", reader, "latin")


class Reader:
    """A text encoder whose texts have as many tokens as characters; knows how much of what it said still exists."""

    name, fingerprint, width, pooled_width, length, precision, padded = "it", "f", 3, 3, 9, "fp32", False

    def __init__(self, most: float = 1.0) -> None:
        self.most, self.said, self.alive = most, list[weakref.ref[Tensor]](), list[int]()

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [1 + len(text) for text in texts]

    def ragged(self, texts: Sequence[str], batch: int = 1) -> tuple[list[Tensor], Tensor]:
        self.alive.append(sum(row is not None and row.numel() for row in (one() for one in self.said)))
        rows = [torch.full((1 + len(text), 3), self.most * len(text)) for text in texts]
        self.said += map(weakref.ref, rows)
        return rows, torch.zeros(len(texts), 3)


CAPTIONS = [("a" * (row % 7), "b" * (row % 5), "a") for row in range(40)]


def test_embeddings_of_a_shards_captions_are_written_as_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_texts, "TOGETHER", 3 * 10)
    reader = Reader()
    write_parts(tmp_path / "few", TextRowEncoder(reader).of(iter(()), CAPTIONS), {"note": "x"})  # type: ignore[arg-type]
    assert len(reader.alive) > 3 and max(reader.alive) == 0
    monkeypatch.undo()
    write_parts(tmp_path / "all", TextRowEncoder(Reader()).of(iter(()), CAPTIONS), {"note": "x"})  # type: ignore[arg-type]
    assert (tmp_path / "few").read_bytes() == (tmp_path / "all").read_bytes()
    found = load_file(tmp_path / "few")
    texts = list(dict.fromkeys(["", *(text for several in CAPTIONS for text in dict.fromkeys(several))]))
    assert found["offsets"].tolist() == np.cumsum([0, *(1 + len(text) for text in texts)]).tolist()
    for number, text in enumerate(texts):
        tokens = found["tokens"][found["offsets"][number] : found["offsets"][number + 1]]
        assert tokens.dtype == torch.float16 and tokens.tolist() == [[len(text)] * 3] * (1 + len(text))
    for row, several in enumerate(CAPTIONS):
        places = found["places"][found["starts"][row] : found["starts"][row + 1]]
        assert [texts[place] for place in places] == list(dict.fromkeys(several))


@pytest.mark.parametrize(("reader", "told"), [(Reader(1e5), "beyond the range of float16"), (Reader(), "other tokens")])
def test_embeddings_that_cannot_be_stored_leave_no_sidecar(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Reader, told: str
) -> None:
    if told == "other tokens":
        monkeypatch.setattr(reader, "lengths", lambda texts: [2 + len(text) for text in texts])
    with pytest.raises(DataError, match=f"it gives .*{told}"):
        encode_shards(str(shards), TextRowEncoder(reader), tmp_path / "texts")  # type: ignore[arg-type]
    assert not [path for path in (tmp_path / "texts").rglob("*") if path.is_file()]


def test_what_a_killed_command_left_of_a_sidecar_is_removed(tmp_path: Path) -> None:
    half, other = (temporary_path(tmp_path / f"00000.{kind}.safetensors") for kind in ("text", "clip"))
    mine = tmp_path / ".00000.text.safetensors.part"
    for path in (half, other, mine):
        path.write_bytes(b"half")
    with sidecars_lock("text", tmp_path):
        assert not half.exists() and other.exists() and mine.exists()
        with pytest.raises(UsageError, match="another command writes what text says"), sidecars_lock("text", tmp_path):
            raise AssertionError
        with sidecars_lock("clip", tmp_path):
            assert not other.exists()


def test_sidecars_of_something_else_are_refused(stream: Stream, shards: Path, tmp_path: Path) -> None:
    reader = learned()
    with pytest.raises(DataError, match=r"there is no .*00000\.text\.safetensors: encode the shards"):
        StreamTexts.open(stream, tmp_path / "texts", reader)
    encode_shards(str(shards), TextRowEncoder(reader), tmp_path / "texts")
    other = learned()
    with torch.no_grad():
        next(other.model.parameters()).mul_(2.0)
    with pytest.raises(DataError, match="holds what another model said"):
        StreamTexts.open(stream, tmp_path / "texts", other)
    with pytest.raises(DataError, match="holds what another model said"):
        StreamTexts.open(stream, tmp_path / "texts", learned(), script="latin")


def test_what_is_done_of_remote_shards_is_not_fetched_again(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it taken for that of another shard of that name, where an index tells."""
    memory, encoder, out, fetched = fsspec.filesystem("memory"), Means(), tmp_path / "out", list[str]()

    def noted(url: str, place: Path) -> None:
        fetched.append(url.rpartition("/")[2])
        fetch(url, place)

    monkeypatch.setattr(shard_cache_module, "fetch", noted)
    try:
        for path in shards.glob("*.tar"):
            memory.pipe(f"/sides/{path.name}", path.read_bytes())
        written = encode_shards("memory://sides", encoder, out)
        local = encode_shards(str(shards), Means(), tmp_path / "local")
        assert [load_file(path)["means"].tolist() for path in written] == [
            load_file(path)["means"].tolist() for path in local
        ]
        assert sorted(fetched) == [f"0000{k}.tar" for k in range(3)] and not (out / "cache").exists()
        written[1].unlink()
        fetched.clear()
        assert encode_shards("memory://sides", encoder, out) == written and encoder.asked == 4
        assert fetched == ["00001.tar"]
        index_shards(str(shards), tmp_path / "index")
        lines = (tmp_path / "index" / INDEX).read_text().splitlines()
        memory.pipe(f"/sides/{INDEX}", "\n".join(lines).encode())
        fetched.clear()
        assert encode_shards("memory://sides", encoder, out) == written and not fetched
        other = json.loads(lines[2]) | {"digest": "0123456789abcdef"}
        memory.pipe(f"/sides/{INDEX}", "\n".join([*lines[:2], json.dumps(other)]).encode())
        with pytest.raises(DataError, match=r"00002\.means\.safetensors holds answers of another shard"):
            encode_shards("memory://sides", encoder, out)
    finally:
        memory.rm("/sides", recursive=True)

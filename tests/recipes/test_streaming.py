"""Training from tar shards that are read as it goes: resumed exactly, and told captions that were read beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pinxit.config import override
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.data.sidecars import encode_shards
from pinxit.data.stream_codes import StreamCodes
from pinxit.data.stream_texts import StreamTexts, TextRowEncoder
from pinxit.data.stream_vectors import StreamVectors
from pinxit.data.streams import Stream
from pinxit.data.vectors import Vectors
from pinxit.errors import DataError, UsageError
from pinxit.recipes.clip.run import STAGES, ClipRun
from pinxit.recipes.clip.run import train as train_clip
from pinxit.recipes.dalle.encode import encode
from pinxit.recipes.dalle.run import STAGES as DALLE
from pinxit.recipes.dalle.run import DalleRun
from pinxit.recipes.dalle.stages import train as train_dalle
from pinxit.recipes.dalle.train_transformer import TransformerTask
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.imagen.stages import train as train_imagen
from pinxit.recipes.sidecars import ClipRowEncoder, DvaeRowEncoder
from pinxit.recipes.unclip.config import UnclipConfig
from pinxit.recipes.unclip.run import UnclipRun
from pinxit.recipes.unclip.stages import train as train_unclip
from pinxit.training.draws import key
from pinxit.training.rows import all_rows
from pinxit.training.state import FILE
from pinxit.weights.checkpoint import fingerprint, open_checkpoint
from tests.recipes import imagens, squares, unclips
from tests.recipes.squares import write_squares
from tests.recipes.test_clip_training import Impatient, small

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("streaming")
    write_shards(FolderDataset(write_squares(place / "squares"), 32), place / "shards", per_shard=2, workers=1)
    return place / "shards"


def streamed(shards: Path, folder: Path, *changes: str) -> ClipRun:
    return ClipRun(folder, small(shards, "data.stream=true", "data.held_out=2", *changes), "cpu", progress=False)


def test_clip_learns_from_a_stream_as_if_it_had_never_stopped(shards: Path, tmp_path: Path) -> None:
    run, cut = (streamed(shards, tmp_path / name) for name in ("run", "cut"))
    assert train_clip(run).finished == STAGES
    invocations = 0
    while train_clip(cut, stop=Impatient()).finished != STAGES:
        invocations += 1
    assert invocations > 1
    one, other = (load_file(each.path("clip") / FILE) for each in (run, cut))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not (run.path("pictures") / "pictures.npy").exists()
    assert open_checkpoint(run.path("checkpoint")).provenance["pictures"] == 8
    (shards / "00003.tar").rename(shards / "away")
    with pytest.raises(DataError, match=r"there is no shard .*00003\.tar any more: restore it"):
        train_clip(streamed(shards, tmp_path / "run", "plan.images=192"))
    (shards / "away").rename(shards / "00003.tar")
    with pytest.raises(UsageError, match=r"data\.stream is of tar shards"):
        override(run.config, ["data.source=world:small", "data.neighbours=true"])


class MorePatient(Impatient):
    """Every twelfth time: it is asked once a stage, of which there are seven."""

    def due(self) -> bool:
        self.asked += 1
        return self.asked >= 12


def dalle(shards: Path, folder: Path, *changes: str) -> DalleRun:
    plans = [f"plans.{stage}.images=32" for stage in ("dvae", "transformer", "clip")]
    return DalleRun(folder, squares.small(shards, "data.stream=true", *plans, *changes), "cpu", False)


def test_dalle_learns_from_a_stream_and_codes_beside_its_shards(shards: Path, tmp_path: Path) -> None:
    """Stopped at every step or not; a broken picture has the caption and the codes of the one that stands in for it."""
    run, cut = (dalle(shards, tmp_path / name) for name in ("run", "cut"))
    assert train_dalle(run).finished == DALLE
    while train_dalle(cut, stop=MorePatient()).finished != DALLE:
        pass
    for stage in ("dvae", "transformer", "clip"):
        one, other = (load_file(each.path(stage) / FILE) for each in (run, cut))
        assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not list(run.folder.rglob("*.npy"))
    codes, stream = run.codes(), run.pictures()
    assert isinstance(codes, StreamCodes) and isinstance(stream, Stream)
    there = encode(run.dvae(), stream.pictures[:], torch.device("cpu"))
    assert (
        np.array_equal(codes[range(8)], there)
        and codes[[]].shape == there[:0].shape
        and len({row.tobytes() for row in there}) > 1
    )
    task = TransformerTask(run.config, codes, stream.captions, run.tokenizer())
    batch, rows = task.batch(all_rows(8, 8)), codes.order(all_rows(8, 8), key(run.config.seed, "transformer order"))
    assert sorted(rows.tolist()) == list(range(8))
    assert np.array_equal(batch["codes"].numpy(), there[rows].reshape(8, -1))
    encoder = DvaeRowEncoder(run.dvae(), torch.device("cpu"))
    encode_shards(str(shards), encoder, tmp_path / "sides")
    given = dalle(shards, tmp_path / "given", f"data.sidecars={tmp_path / 'sides'}", "noise.reconstructed=0")
    assert train_dalle(given).finished == DALLE and not given.path("codes").exists()
    with pytest.raises(DataError, match="what another model said"):
        StreamCodes.open(stream, tmp_path / "sides", "another")
    (tmp_path / "sides" / "00001.dvae.safetensors").unlink()
    with pytest.raises(DataError, match=r"there is no .*00001\.dvae\.safetensors: encode the shards"):
        StreamCodes.open(stream, tmp_path / "sides", fingerprint(run.dvae()))
    assert run.finished("codes") and not given.finished("codes")
    with pytest.raises(UsageError, match=r"data\.stream is of tar shards"):
        override(run.config, ["data.source=world:small"])


def unclip(about: UnclipConfig, out: Path, *changes: str) -> UnclipRun:
    return UnclipRun(out, override(about, list(changes)), "cpu", progress=False)


def test_unclip_learns_from_a_stream_and_what_clip_says_beside_its_shards(shards: Path, tmp_path: Path) -> None:
    """Every network; a stream's vectors and texts are the bank's of the same shards, read by item and caption."""
    about = unclips.tiny_config(tmp_path, f"data.source={shards}")
    run = unclip(about, tmp_path / "run", "data.stream=true", "text.stored=4")
    assert train_unclip(run).finished == run.stages and not list(run.folder.rglob("*.npy"))
    bank = unclip(about, tmp_path / "bank", "text.stored=4")
    train_unclip(bank, bank.stages[:4])
    streamed, stored = run.vectors, bank.vectors
    assert isinstance(streamed, StreamVectors) and isinstance(stored, Vectors) and len(streamed) == len(stored) == 8
    items, which = [5, 0, 3, 7], [0, 1, -1, 2]
    assert [streamed.count(item) for item in items] == [stored.count(item) for item in items] == [2] * 4
    assert [streamed.text(i, k) for i, k in zip(items, which, strict=True)] == [
        stored.text(i, k) for i, k in zip(items, which, strict=True)
    ]
    pairs = [(streamed.image_embeddings(items), stored.image_embeddings(items))]
    pairs += [(streamed.text_embeddings(items, which), stored.text_embeddings(items, which))]
    pairs += [(streamed.image_embeddings([]), stored.image_embeddings([]))]
    pairs += [(streamed.text_embeddings([], []), stored.text_embeddings([], []))]
    one, other = (each.pairs.conditions(items, which) for each in (run, bank))
    pairs += [(one[name].float(), other[name].float()) for name in ("sequence", "mask", "pooled")]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
    task = run.prior_task(run.priors[0].name)
    rows = run.stream.order(all_rows(8, 8), key(run.config.seed, f"{task.name} order")).tolist()
    batch = task.batch(all_rows(8, 8))
    if "embedding" in batch:
        torch.testing.assert_close(batch["embedding"], run.pairs.coordinates(rows))
    given = unclip(
        about, tmp_path / "given", "data.stream=true", "text.stored=0", f"data.sidecars={tmp_path / 'sides'}"
    )
    train_unclip(given, ("pictures",))
    with pytest.raises(DataError, match=r"there is no .*clip\.safetensors: encode the shards with --with clip"):
        _ = given.vectors
    assert not given.finished("vectors") and given.finished("texts")
    encode_shards(str(shards), ClipRowEncoder(given.clip), tmp_path / "sides")
    assert given.finished("vectors") and torch.equal(given.vectors.image_embeddings(items), pairs[0][0])


def imagen(shards: Path, folder: Path, out: Path, *changes: str) -> ImagenRun:
    about: Any = imagens.tiny_config(folder, f"data.source={shards}", "data.stream=true", *changes)
    plan = {"images": 16, "batch": 8, "precision": "fp32", "warmup": 8, "preview_every": 1000}
    config = imagens.planned(override(about, ["stages.upsampler=null"]), **plan)
    return ImagenRun(out, config, "cpu", progress=False)


def test_imagen_is_told_captions_from_sidecars(shards: Path, tmp_path: Path) -> None:
    plain = imagen(shards, tmp_path, tmp_path / "plain")
    assert "checkpoint" in train_imagen(plain).finished
    told = imagen(shards, tmp_path, tmp_path / "told", "text.stored=1")
    assert "checkpoint" in train_imagen(told).finished
    for wrong, said in (
        ([f"data.sidecars={tmp_path / 'sides'}"], "sides: there is no such folder; name the one"),
        (["data.sidecars=sides", "data.stream=false"], "data.sidecars=sides is read beside shards as they stream"),
    ):
        with pytest.raises(UsageError, match=said):
            train_imagen(imagen(shards, tmp_path, tmp_path / "wrong", "text.stored=1", *wrong))
    assert not (tmp_path / "sides").exists() and not (tmp_path / "wrong").exists()
    encode_shards(str(shards), TextRowEncoder(told.frozen, "latin"), tmp_path / "sides")
    given = imagen(shards, tmp_path, tmp_path / "given", "text.stored=1", f"data.sidecars={tmp_path / 'sides'}")
    assert "checkpoint" in train_imagen(given).finished and not given.path("texts").exists()
    assert given.finished("texts")
    (tmp_path / "sides" / "00001.text.safetensors").rename(tmp_path / "away")
    assert not given.finished("texts"), "whatever says that the folder holds sidecars of some kind"
    (tmp_path / "away").rename(tmp_path / "sides" / "00001.text.safetensors")
    tasks = [run.task("base") for run in (plain, told, given)]
    assert all(isinstance(task.bank, Stream) for task in tasks) and isinstance(tasks[1].stored, StreamTexts)
    for first in (0, 8, 16):
        read, *others = (task.batch(all_rows(first, 8)) for task in tasks)
        for batch in others:
            assert torch.equal(batch["pictures"], read["pictures"])
            kept = read["mask"].any(1)
            assert torch.equal(batch["mask"], read["mask"])
            torch.testing.assert_close(batch["sequence"][kept], read["sequence"][kept], atol=5e-3, rtol=5e-3)

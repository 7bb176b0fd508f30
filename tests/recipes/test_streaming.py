"""Training from tar shards that are read as it goes: resumed exactly, and told captions that were read beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pinxit.config import override
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.data.sidecars import encode_shards
from pinxit.data.stream_texts import StreamTexts, TextRowEncoder
from pinxit.data.streams import Stream
from pinxit.errors import DataError, UsageError
from pinxit.recipes.clip.run import STAGES, ClipRun
from pinxit.recipes.clip.run import train as train_clip
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.imagen.stages import train as train_imagen
from pinxit.training.rows import whole
from pinxit.training.state import FILE
from pinxit.weights.checkpoint import open_checkpoint
from tests.recipes import imagens
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
    encode_shards(str(shards), TextRowEncoder(told.frozen, "latin"), tmp_path / "sides")
    given = imagen(shards, tmp_path, tmp_path / "given", "text.stored=1", f"data.sidecars={tmp_path / 'sides'}")
    assert "checkpoint" in train_imagen(given).finished and not given.path("texts").exists()
    tasks = [run.task("base") for run in (plain, told, given)]
    assert all(isinstance(task.bank, Stream) for task in tasks) and isinstance(tasks[1].stored, StreamTexts)
    for first in (0, 8, 16):
        read, *others = (task.batch(whole(first, 8)) for task in tasks)
        for batch in others:
            assert torch.equal(batch["pictures"], read["pictures"])
            kept = read["mask"].any(1)
            assert torch.equal(batch["mask"], read["mask"])
            torch.testing.assert_close(batch["sequence"][kept], read["sequence"][kept], atol=5e-3, rtol=5e-3)

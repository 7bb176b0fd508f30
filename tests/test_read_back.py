"""Whatever somebody did to a file that pinxit reads back, the answer is its content or one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinxit.data.bank import Bank, build_bank
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.errors import PinxitError
from pinxit.pictures import write_png
from pinxit.recipes.card import SCORES, report_of
from pinxit.recipes.clip import presets
from pinxit.recipes.clip.index import PictureIndex
from pinxit.recipes.clip.index_rows import Row
from pinxit.recipes.clip.run import ClipRun
from pinxit.text.tokenizers import Tokenizer
from pinxit.training import log, runs
from pinxit.training.plan import Plan
from pinxit.weights.checkpoint import Part, open_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Config:
    plan: Plan = field(default_factory=lambda: Plan(images=100, batch=10))


@dataclass(frozen=True)
class Small:
    width: int = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of every kind of folder that pinxit writes."""
    folder = tmp_path_factory.mktemp("written")
    (folder / "run" / "part").mkdir(parents=True)
    runs.enter(folder / "run", "toy", Config(), {})
    (folder / "run" / log.METRICS).write_text('{"stage": "a", "images": 8, "loss": 1.0}\n')
    save_checkpoint(folder / "checkpoint", "toy", {"net": Part(Small(), {})}, settings={"a": 1})
    pictures = folder / "pictures"
    for number in range(3):
        write_png(pictures / f"{number}.png", np.full((8, 8, 3), 80 * number, np.uint8))
        (pictures / f"{number}.txt").write_text(f"a picture {number}")
    build_bank(FolderDataset(pictures, 8), None, folder / "bank", workers=1)
    write_shards(FolderDataset(pictures, 8), folder / "shards", workers=1)
    index = PictureIndex.create(folder / "index", "toy", "0", 4)
    index.add([Row.of(pictures / "0.png")], np.eye(1, 4, dtype=np.float32))
    (folder / "index" / "gone.json").write_text("[]")
    Tokenizer.train(["a red cube"], 300).save(folder / "tokenizer")
    report: dict[str, Any] = {"painter": {"checkpoint_hash": "x"}, "scores": {}, "exam": {}, "judge": {}, "machine": {}}
    (folder / "run" / SCORES).write_text(json.dumps(report | {"candidates": 1, "date": "today"}))
    return folder


def captions(place: Path) -> Any:
    return Bank.open(place / "bank").captions[:]


READ: dict[str, Callable[[Path], Any]] = {
    "run/run.json": lambda place: runs.config_of(place / "run", "toy", Config),
    "run/metrics.jsonl": lambda place: (log.read_metrics(place / "run"), log.Log(place / "run", "a", 8, 8, show=False)),
    "run/scores.json": lambda place: report_of(ClipRun(place / "run", presets.nano(), progress=False), "x"),
    "checkpoint/pinxit.json": lambda place: open_checkpoint(place / "checkpoint").config("net", Small),
    "bank/bank.json": lambda place: Bank.open(place / "bank")[0],
    "bank/captions.jsonl": captions,
    "bank/problems.jsonl": lambda place: Bank.open(place / "bank").problems.report(),
    "shards/shards.json": lambda place: write_shards(FolderDataset(place / "pictures", 8), place / "shards", workers=1),
    "shards/00000_stats.json": lambda place: write_shards(
        FolderDataset(place / "pictures", 8), place / "shards", workers=1
    ),
    "index/index.json": lambda place: PictureIndex.open(place / "index"),
    "index/gone.json": lambda place: PictureIndex.open(place / "index"),
    "tokenizer/words.json": lambda place: Tokenizer.open(place / "tokenizer"),
}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file as a crash, another program or an editor may leave it."""
    way = draw(st.sampled_from(["cut", "bytes", "value", "field", "deep", "lines"]))
    if way == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if way == "bytes":
        return draw(st.binary(max_size=20))
    if way == "deep":
        return b"[" * 100_000
    if way == "value":
        return json.dumps(draw(VALUES)).encode()
    if way == "lines":
        return (
            b"\n".join(draw(st.lists(st.sampled_from([b"", b"[]", b"{}", b"1", b"null", b"[1]"]), max_size=4))) + b"\n"
        )
    try:
        found = json.loads(content)
    except ValueError:
        return content + b"{"
    inside = found
    while isinstance(inside, dict) and inside:
        name = draw(st.sampled_from(sorted(inside)))
        if not isinstance(inside[name], dict) or draw(st.booleans()):
            inside[name] = draw(VALUES)
            break
        inside = inside[name]
    return json.dumps(found).encode()


@pytest.mark.parametrize("name", READ)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_one_sentence(place: Path, name: str, data: st.DataObject) -> None:
    path = place / name
    whole = path.read_bytes()
    path.write_bytes(data.draw(damaged(whole)))
    try:
        READ[name](place)
    except PinxitError as told:
        assert str(told) and len(str(told)) < 2000
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", READ)
def test_what_was_written_is_read(place: Path, name: str) -> None:
    READ[name](place)

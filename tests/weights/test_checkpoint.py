from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from pinxit import files
from pinxit.errors import CheckpointError, PinxitError
from pinxit.weights import checkpoint as weights
from pinxit.weights import tensor_files, zoo
from pinxit.weights.checkpoint import Part, Store, open_checkpoint, save_checkpoint
from pinxit.weights.zoo import find


@dataclass(frozen=True)
class TinyConfig:
    width: int = 6


def tiny(width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 8), nn.Linear(8, width))


def save(folder: Path, width: int = 6) -> nn.Module:
    model = tiny(width)
    save_checkpoint(
        folder,
        "dalle",
        {"net": Part(TinyConfig(width), model.state_dict())},
        extra_files={"tokenizer.json": b"{}"},
        provenance={"data": "none"},
        settings={"guidance": 2.0},
    )
    return model


def test_round_trip_is_bfloat16_exact(tmp_path: Path) -> None:
    model = save(tmp_path / "c")
    opened = open_checkpoint(tmp_path / "c", "dalle")
    assert opened.config("net", TinyConfig) == TinyConfig(6)
    assert opened.settings == {"guidance": 2.0}
    other = tiny()
    nn.init.zeros_(other[0].weight)  # type: ignore[index]
    opened.load_into("net", other)
    for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a.bfloat16().float(), b)


@pytest.mark.parametrize("store", ["bf16", "int8"])
def test_an_exact_part_is_not_rounded(tmp_path: Path, store: Store) -> None:
    exact, rounded = tiny(), tiny()
    parts = {
        "exact": Part(TinyConfig(), exact.state_dict(), exact=True),
        "net": Part(TinyConfig(), rounded.state_dict()),
    }
    save_checkpoint(tmp_path, "dalle", parts, store=store)
    found = open_checkpoint(tmp_path)
    assert all(torch.equal(tensor, exact.state_dict()[name]) for name, tensor in found.state("exact").items())
    assert not all(torch.equal(tensor.float(), exact.state_dict()[name]) for name, tensor in found.state("net").items())


def test_shards_hold_every_weight_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHARD_BYTES", 2**16 + 120)
    model = save(tmp_path / "c")
    opened = open_checkpoint(tmp_path / "c")
    assert len(opened.parts["net"]["files"]) > 1
    assert opened.state("net").keys() == model.state_dict().keys()


def test_hash_follows_content(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "b")
    save(tmp_path / "c", width=7)
    hashes = [open_checkpoint(tmp_path / name).hash for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_damage_is_one_sentence_each(tmp_path: Path) -> None:
    def fresh(name: str) -> Path:
        save(tmp_path / name)
        return tmp_path / name

    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        open_checkpoint(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        open_checkpoint(tmp_path / "empty")

    cut = fresh("cut")
    weights = cut / "net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="cut short"):
        open_checkpoint(cut)

    altered = fresh("altered")
    weights = altered / "net.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="altered"):
        open_checkpoint(altered)

    gone = fresh("gone")
    (gone / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        open_checkpoint(gone)

    garbled = fresh("garbled")
    (garbled / "pinxit.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is not readable JSON .*fetch the checkpoint again"):
        open_checkpoint(garbled)

    newer = fresh("newer")
    manifest = json.loads((newer / "pinxit.json").read_text())
    (newer / "pinxit.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(CheckpointError, match="update pinxit"):
        open_checkpoint(newer)

    with pytest.raises(CheckpointError, match="not imagen"):
        open_checkpoint(fresh("other"), "imagen")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("store", ["bf16", "int8"])
def test_weights_that_are_not_finite_are_neither_written_nor_opened(tmp_path: Path, value: float, store: Store) -> None:
    save(tmp_path / "c")
    before = {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()}
    bad = {name: tensor.float() for name, tensor in tiny().state_dict().items()}
    first = next(iter(bad))
    bad[first].view(-1)[0] = value
    with pytest.raises(PinxitError, match=f"not finite .{first}"):
        save_checkpoint(tmp_path / "c", "toy", {"net": Part(TinyConfig(), bad)}, store=store)
    assert {path.name: path.read_bytes() for path in (tmp_path / "c").iterdir()} == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "not_finite", lambda tensors: None)
        save_checkpoint(tmp_path / "d", "toy", {"net": Part(TinyConfig(), bad)})
    with pytest.raises(CheckpointError, match=f"not finite .{first}"):
        open_checkpoint(tmp_path / "d").load_into("net", tiny())


def test_a_checkpoint_is_there_at_every_moment_of_its_replacement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write is the last before a kill, what is opened is the whole old checkpoint or the whole new one."""
    folder = tmp_path / "c"
    save(folder)
    (folder / "notes.txt").write_text("mine")
    old, seen = open_checkpoint(folder).hash, []
    plain = files.atomic_file

    @contextmanager
    def watched(path: Path, before: Path | None = None) -> Iterator[Path]:
        with plain(path, before) as temporary:
            yield temporary
        seen.append(open_checkpoint(folder).hash)

    for writer in (files, tensor_files):
        monkeypatch.setattr(writer, "atomic_file", watched)
    save(folder, width=7)
    new = open_checkpoint(folder).hash
    assert len(seen) >= 3 and set(seen) == {old} and new != old
    assert (folder / "notes.txt").read_text() == "mine" and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("exchange", [True, False])
def test_folders_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr("pinxit.files.sys.platform", "other")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    (tmp_path / "a" / "mine").touch()
    with files.atomic_folder(tmp_path / "a", ["old"]) as new:
        (new / "fresh").touch()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["fresh", "mine"]
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "a") as new:
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "fresh", "mine"]


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "c", width=7)
    with pytest.raises(CheckpointError, match="another shape"):
        open_checkpoint(tmp_path / "c").load_into("net", tiny())


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64])
def test_weights_of_another_type_are_refused(tmp_path: Path, kind: torch.dtype) -> None:
    state = {name: tensor.to(kind) for name, tensor in tiny().state_dict().items()}
    save_checkpoint(tmp_path / "c", "dalle", {"net": Part(TinyConfig(), state)})
    with pytest.raises(CheckpointError, match=r"part net has of another type \d weights such as"):
        open_checkpoint(tmp_path / "c").load_into("net", tiny())


def test_find_takes_folders_and_names_what_is_shipped(tmp_path: Path) -> None:
    assert find(tmp_path) == tmp_path
    with pytest.raises(CheckpointError, match="shipped name"):
        find("no-such-checkpoint")
    assert all((find(name) / "pinxit.json").is_file() for name in ("tiny", "imagen-tiny", "judge"))


def test_whole_numbers_keep_every_digit(tmp_path: Path) -> None:
    """A BatchNorm's counter, say: bfloat16 has no 1001."""
    state = {"gain": torch.randn(4), "count": torch.tensor(1001), "seen": torch.tensor([True, False])}
    save_checkpoint(tmp_path, "dalle", {"net": Part(TinyConfig(), state)})
    found = open_checkpoint(tmp_path).state("net")
    assert found["gain"].dtype == torch.bfloat16 and found["seen"].dtype == torch.bool
    assert found["count"].dtype == torch.int64 and int(found["count"]) == 1001


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    save(tmp_path)
    opened, first, wider = open_checkpoint(tmp_path), nn.Sequential(nn.Linear(6, 8)), tiny(7)
    more = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 2))
    for module, told in (
        (more, r"part net lacks 2 weights such as '2\.bias'"),
        (first, r"part net has unknown 2 weights such as '1\.bias'"),
        (wider, r"part net has of another shape \d weights such as '(0\.weight|1\.bias|1\.weight)'"),
    ):
        with pytest.raises(CheckpointError, match=told):
            opened.load_into("net", module)


def test_an_empty_name_is_not_the_current_folder() -> None:
    assert zoo.located("") == "" and zoo.located(".") == str(Path.cwd().resolve())

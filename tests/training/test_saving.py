"""Disks that are full inside a save of ranks: each says one sentence, and the run goes on from the save before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pinxit.errors import PinxitError
from pinxit.training import sharding
from pinxit.training import state as states
from pinxit.training.loop import fit
from pinxit.training.parallel import Ranks, is_lost_rank
from pinxit.training.saved_state import BEFORE, FILE, FOLDER, saves_of
from pinxit.training.saving import PART, saving_by_ranks
from pinxit.weights import tensor_files
from tests.ranks import forked
from tests.training.test_parallel import same
from tests.training.test_sharding import Uneven, whole
from tests.training.toy import plan

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full"),
]


def work(rank: int, root: Path, cut: bool, full: int | None = None) -> None:
    """Train with a save after every update; `full`: the rank whose disk is full from its third save on."""
    sharding.UNIT = 10_000
    saves = list[Path]()

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        saves.append(path)
        if len(saves) < 3:
            save_file(tensors, path, metadata)
            return
        path.write_bytes(b"half")
        with Path("/dev/full").open("wb") as device:
            device.write(b"x" * 100_000)

    if rank == full:
        setattr(tensor_files, "save_file", half)  # noqa: B010  of this process alone
    about = plan(shard=cut, clip=0.0, images=32, save_minutes=0.0, preview_every=1000)
    try:
        fit(Uneven(), about, root / "run", "cpu", progress=False)
    except (PinxitError, RuntimeError) as error:
        (root / f"said-{rank}").write_text("another has ended" if is_lost_rank(error) else str(error))


def goes_on(root: Path, cut: bool) -> None:
    """From the second save, to what a run becomes that never stopped."""
    assert states.read_progress(root / "run").images == 8
    assert not list((root / "run").rglob("*.part"))
    forked(2, work, root, cut)
    forked(2, work, root / "straight", cut)
    assert same(whole(root / "run"), whole(root / "straight" / "run"))


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_where_each_rank_writes_its_rows(tmp_path: Path, rank: int) -> None:
    forked(2, work, tmp_path, True, rank)
    told = {k: (tmp_path / f"said-{k}").read_text() for k in (0, 1)}
    assert told[rank].startswith("cannot write ") and f"rank-{rank}-of-2.safetensors: No space left" in told[rank]
    assert told[1 - rank] == "another rank could not write its part of the state: see its own message."
    assert [save.name for save in saves_of(tmp_path / "run")] == ["000001", "000002"]
    goes_on(tmp_path, True)
    assert not list((tmp_path / "run" / FOLDER).glob(f"{PART}*")), "what was half-written is gone"


def test_where_one_rank_writes_all(tmp_path: Path) -> None:
    """The other hears of it as the end of the first."""
    forked(2, work, tmp_path, False, 0)
    assert "state.safetensors: No space left" in (tmp_path / "said-0").read_text()
    assert (tmp_path / "said-1").read_text() == "another has ended"
    goes_on(tmp_path, False)


def test_only_what_ranks_say_of_each_other_is_another_ranks_end() -> None:
    assert not is_lost_rank(RuntimeError("gloo: Connection closed by peer")), "here is no other"
    assert not is_lost_rank(torch.OutOfMemoryError("CUDA out of memory"))


def test_saves_in_one_file_go_when_there_are_two_by_ranks(tmp_path: Path) -> None:
    """Of which there are never more."""
    for name in (FILE, BEFORE):
        (tmp_path / name).write_bytes(b"whole")
    left = []
    for _ in range(3):
        saving_by_ranks(tmp_path, {"a": torch.ones(2)}, {}, Ranks(), copies=True).at_once()
        left.append([save.name for save in saves_of(tmp_path)] + [path.name for path in tmp_path.glob("*.safetensors")])
    assert sorted(left[0]) == ["000001", BEFORE, FILE] and left[1:] == [["000001", "000002"], ["000002", "000003"]]

"""What is cut among ranks trains as what is copied to each of them, and its state is the same state."""

from __future__ import annotations

import math
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessException

from pinxit.errors import CheckpointError
from pinxit.training import initial, loop, sharding
from pinxit.training import state as states
from pinxit.training.flops import measure
from pinxit.training.initial import OwnRows, in_shards, network
from pinxit.training.log import read_metrics
from pinxit.training.loop import Batch, fit
from pinxit.training.parallel import join_ranks
from pinxit.training.rows import Rows
from pinxit.training.saved_state import FOLDER, SavedState, name_of, saves_of
from pinxit.training.sharding import Sharded
from tests.ranks import forked
from tests.training.test_kills import killed_inside_a_save
from tests.training.test_parallel import Partly, same
from tests.training.toy import Toy, plan

pytestmark = pytest.mark.timeout(1800)  # processes that wait for each other are slow where others work, too


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(192, 64)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(torch.relu(self.qkv(x)))  # type: ignore[no-any-return]


class Net(nn.Module):
    """A single number, which cannot be cut; blocks with a matrix of three parts; a layer of fewer rows than ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.leave = nn.Linear(8, 64), nn.Linear(64, 4)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.narrow = nn.Linear(4, 1)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("count", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.leave(h) * self.scale  # type: ignore[no-any-return]


class Uneven(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = network(Net, 0, "uneven")

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.blocks}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        out = self.blocks(batch["x"])
        error = (out.float() - batch["x"] @ self.target).square().mean()
        return error + self.blocks.narrow(out).float().square().mean(), {"error": error.detach(), "half": 0.5}


class Seen(Uneven):
    """Its preview looks at whole weights, and its score is one of them."""

    def preview(self) -> Any:
        assert all(type(parameter) is nn.Parameter for parameter in self.blocks.parameters())
        self.blocks(torch.zeros(1, 8))
        return super().preview()

    def scores(self) -> dict[str, float]:
        return {"corner": float(self.blocks.blocks[1].get_parameter("out.weight").sum())}


TASKS = {"uneven": Uneven, "partly": Partly, "seen": Seen}
PLAIN = {"clip": 0.0, "images": 32, "preview_every": 1000}
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "adamw": ("uneven", PLAIN),
    "clipped": ("uneven", {**PLAIN, "clip": 0.5}),
    "muon": ("uneven", {**PLAIN, "optimiser": "muon", "lr": 3e-3}),
    "lora": ("uneven", {**PLAIN, "lora": 2}),
    "bf16": ("uneven", {**PLAIN, "precision": "bf16"}),
    "partly": ("partly", PLAIN),
    "pieces": ("uneven", {**PLAIN, "micro": 2}),
    "seen": ("seen", {**PLAIN, "preview_every": 16}),
}


def whole(folder: Path) -> dict[str, Tensor]:
    """A state, however it is stored."""
    found = SavedState(folder)
    return {name: found.read(name) for name in found.names()}


Jobs = Mapping[str, tuple[str, dict[str, Any], int | None]]
"""By folder: the task, what its plan changes, and where to stop."""


def work(rank: int, root: Path, jobs: Jobs, killed: tuple[int, int] = (-1, 0)) -> None:
    """`killed`: a rank, and the change of a file, inside a save, that ends it."""
    sharding.UNIT, initial.SMALL = 10_000, 1_000
    if rank == killed[0]:
        killed_inside_a_save(killed[1])
    for folder, (kind, changes, until) in jobs.items():
        about = plan(**changes)
        with in_shards(join_ranks(), about.shard):
            task = TASKS[kind]()
        uncut = kind == "partly" or not about.shard  # built whole, and cut then
        assert any(isinstance(one, OwnRows) for one in task.modules()["net"].parameters()) != uncut
        fit(task, about, root / folder, "cpu", progress=False, stop_after=until)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks make of every job, each with a copy and each with its rows."""
    root = tmp_path_factory.mktemp("two")
    ways = (("copied", False), ("cut", True))
    jobs = {f"{n}-{how}": (kind, {**more, "shard": cut}, None) for n, (kind, more) in JOBS.items() for how, cut in ways}
    forked(2, work, root, jobs)
    return root


@pytest.mark.parametrize("name", ["adamw", "muon", "bf16", "partly", "seen"])
def test_two_ranks_that_cut_are_two_that_copy_bit_for_bit(two: Path, name: str) -> None:
    copied, cut = whole(two / f"{name}-copied"), whole(two / f"{name}-cut")
    assert copied.keys() == cut.keys()
    assert not [key for key, tensor in copied.items() if not torch.equal(tensor, cut[key])]
    lines, others = (read_metrics(two / f"{name}-{how}") for how in ("copied", "cut"))
    for number in ("images", "loss", "grad_norm", "lr", "error"):
        assert [line[number] for line in lines] == pytest.approx([line[number] for line in others], rel=1e-5), number
    assert (two / f"{name}-cut/preview.png").is_file()


@pytest.mark.parametrize("name", ["clipped", "pieces", "lora"])
def test_where_sums_have_another_order_they_are_close(two: Path, name: str) -> None:
    """The gradient's norm is summed over rows, not over matrices; pieces are summed over ranks one by one.

    And how a product of thin matrices is summed hangs on where in memory they lie.
    """
    copied, cut = whole(two / f"{name}-copied"), whole(two / f"{name}-cut")
    for key, tensor in copied.items():
        torch.testing.assert_close(tensor, cut[key], atol=2e-6, rtol=1e-5, msg=key)


def test_four_ranks_that_cut_are_four_that_copy_but_for_the_order_of_sums(tmp_path: Path) -> None:
    """Two rows each; of a layer of one row three ranks hold none. And one rank reads what four have written.

    Averaged gradients are 7e-7 of their largest apart; where one is all but nought, Adam makes more of it.
    """
    jobs = {how: ("uneven", {**PLAIN, "images": 16, "shard": how == "cut"}, None) for how in ("copied", "cut")}
    forked(4, work, tmp_path, jobs)
    copied, cut = whole(tmp_path / "copied"), whole(tmp_path / "cut")
    assert copied.keys() == cut.keys()
    for key, tensor in copied.items():
        if "exp_avg/" in key:
            assert float((tensor - cut[key]).abs().max()) <= 1e-5 * float(tensor.abs().max()), key
        torch.testing.assert_close(tensor, cut[key], atol=2e-6, rtol=1e-5, msg=key)
    assert len(list(saves_of(tmp_path / "cut")[-1].glob("*.safetensors"))) == 4
    for how in jobs:
        fit(Uneven(), plan(**{**PLAIN, "images": 24}), tmp_path / how, "cpu", progress=False)
        assert states.read_progress(tmp_path / how).images == 24
    later = whole(tmp_path / "cut")
    for key, tensor in whole(tmp_path / "copied").items():
        torch.testing.assert_close(tensor, later[key], atol=1e-5, rtol=1e-4, msg=key)


def test_scores_of_what_is_cut_are_those_of_averaged_weights(two: Path) -> None:
    one, other = ([line.get("corner") for line in read_metrics(two / f"seen-{how}")] for how in ("copied", "cut"))
    assert one == other and sum(score is not None for score in one) == 2


def test_each_rank_writes_its_rows_once_and_two_saves_are_kept(two: Path) -> None:
    folder = two / "adamw-cut"
    assert not (folder / states.FILE).exists()
    saves = saves_of(folder)
    assert [save.name for save in saves] == ["000001", "000002"] and len(list((folder / FOLDER).iterdir())) == 2
    parts = [load_file(saves[-1] / name_of(rank, 2)) for rank in (0, 1)]
    whole_ones = whole(folder)
    for name, tensor in whole_ones.items():
        held = [len(part[name]) for part in parts if name in part and part[name].ndim]
        assert sum(held) == (len(tensor) if tensor.ndim else 0), name
        assert tensor.ndim == 0 or len(tensor) == 1 or name.endswith("/count") or held[0] == math.ceil(len(tensor) / 2)
    sizes = [sum(tensor.nbytes for tensor in part.values()) for part in parts]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


@pytest.mark.parametrize(("last", "told"), [(True, " (plan.channels_last has no effect with plan.shard)"), (False, "")])
def test_the_log_tells_what_has_no_effect_for_a_sharded_model(last: bool, told: str) -> None:
    task, about = Toy(), plan(channels_last=last, shard=True)
    assert loop._cut(Sharded(task, nn.Module(), []), about, 2, 1) == f", cut among 2 ranks in 2 units{told}"
    assert loop._cut(task, about, 1, 1) == ""


def test_a_rank_holds_the_bytes_that_are_foretold(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte: what rank 0 saves, its gradients, and the gathered."""
    monkeypatch.setattr(sharding, "UNIT", 10_000)
    about, task = plan(**PLAIN, shard=True), Uneven()
    cost = measure(task, task.batch(Rows(0, 2, 0, 2)), about, torch.device("cpu"))
    saved = load_file(saves_of(two / "adamw-cut")[-1] / name_of(0, 2))
    held = [t.nbytes for name, t in saved.items() if not name.endswith("/count") and not name.startswith("adam/step")]
    block = sum(parameter.numel() for parameter in task.blocks.blocks[0].parameters())
    outside = sum(parameter.numel() for parameter in task.blocks.parameters()) - 2 * block
    assert cost.units == (block, block)
    assert cost.cut(about, 2) == sum(held) * 5 / 4 + 4 * (2 * outside + 2 * block + block)
    assert cost.memory(about, 2) == cost.cut(about, 2) + 8 * cost.activation_bytes
    unlike = replace(cost, units=(block - 10, block + 10))
    assert unlike.cut(about, 2) == cost.cut(about, 2) + 4 * 3 * 10  # room for the largest
    copied = replace(about, shard=False)
    assert cost.memory(copied, 2) == 20 * cost.parameters + 8 * cost.activation_bytes == cost.memory(about, 1)


def test_a_run_goes_from_one_rank_to_two_that_cut_to_one_to_two_that_copy_and_back(tmp_path: Path) -> None:
    """Bit for bit one rank's in two pieces, for every field of the optimiser and the average."""
    about = {**PLAIN, "images": 48, "micro": 4}
    for ranks, cut, until in ((1, False, 8), (2, True, 16), (1, False, 24), (2, False, 32), (2, True, 48)):
        changes = {**about, "shard": cut}
        if ranks == 1:
            fit(Uneven(), plan(**changes), tmp_path / "run", "cpu", progress=False, stop_after=until)
        else:
            forked(2, work, tmp_path, {"run": ("uneven", changes, until)})
        assert states.read_progress(tmp_path / "run").images == until
        assert (SavedState(tmp_path / "run").path.parent.name == FOLDER) == cut
    fit(Uneven(), plan(**about), tmp_path / "straight", "cpu", progress=False)
    one, other = whole(tmp_path / "straight"), whole(tmp_path / "run")
    assert one.keys() == other.keys()
    assert not [key for key, tensor in one.items() if not torch.equal(tensor, other[key])]
    read = states.read_weights(tmp_path / "run", "net")
    assert {f"average/net/{name}" for name in read} == {name for name in one if name.startswith("average/")}
    assert all(torch.equal(tensor, one[f"average/net/{name}"]) for name, tensor in read.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_inside_a_save_of_two_ranks(tmp_path: Path) -> None:
    """Whichever rank dies at whichever change of a file: the save counts or the one before it does."""
    dice, about = random.Random(0), {**PLAIN, "images": 48, "save_minutes": 0.0, "shard": True}
    forked(2, work, tmp_path, {"straight": ("uneven", about, None)})
    kills = 0
    for turn in range(4):
        before = states.read_progress(tmp_path / "killed").images
        try:
            forked(2, work, tmp_path, {"killed": ("uneven", about, None)}, (turn % 2, dice.randrange(2, 12)))
        except ProcessException:
            kills += 1
        assert states.read_progress(tmp_path / "killed").images >= before
    assert kills >= 3
    forked(2, work, tmp_path, {"killed": ("uneven", about, None)})
    one, other = whole(tmp_path / "straight"), whole(tmp_path / "killed")
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    assert len(list((tmp_path / "killed" / FOLDER).iterdir())) == 2


def test_a_save_that_lacks_a_part_is_one_sentence_and_the_one_before_serves(two: Path, tmp_path: Path) -> None:
    shutil.copytree(two / "adamw-cut", tmp_path / "run")
    save = saves_of(tmp_path / "run")[-1]
    part, truth = save / name_of(1, 2), whole(tmp_path / "run")
    data = part.read_bytes()
    for spoil, told in (
        (lambda: part.unlink(), "lacks rank-1-of-2.safetensors; remove it to go on from the previous save"),
        (lambda: part.write_bytes(data[:-8]), "rank-1-of-2.safetensors cannot be read"),
        (lambda: shutil.copy(save / name_of(0, 2), part), "lacks rows of"),
    ):
        spoil()
        with pytest.raises(CheckpointError, match=told):
            whole(tmp_path / "run")
        part.write_bytes(data)
    assert same(truth, whole(tmp_path / "run"))
    shutil.rmtree(save)
    assert states.read_progress(tmp_path / "run").images == 0
    shutil.copytree(two / "muon-cut" / FOLDER, tmp_path / "other" / FOLDER)
    with pytest.raises(CheckpointError, match=r"it was written for another model"):
        fit(Toy(), plan(**PLAIN, optimiser="muon", lr=3e-3), tmp_path / "other", "cpu", progress=False)

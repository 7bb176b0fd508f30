"""Blocks whose activations are made again: the same bits in less memory, for a third of the work more."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from pinxit.training import sharding
from pinxit.training.draws import seeded
from pinxit.training.flops import measure
from pinxit.training.log import read_metrics
from pinxit.training.loop import Batch, fit
from pinxit.training.recompute import bytes_inside, recompute
from pinxit.training.rows import Rows, all_rows
from pinxit.training.saved_state import SavedState
from tests.ranks import forked
from tests.training.toy import Toy, plan

WIDTH, HIDDEN = 16, 64
ALIVE: list[StorageWeakRef] = []  # what has been made inside of blocks


class Block(nn.Module):
    """With a running mean and with chance; the text comes inside of another value."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(WIDTH, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        h = F.relu(self.norm(self.up(x + told["text"])))
        ALIVE.append(StorageWeakRef(h.untyped_storage()))  # type: ignore[no-untyped-call]
        return x + self.down(F.dropout(h, 0.25, self.training))  # type: ignore[no-any-return]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.text, self.leave = nn.Linear(8, WIDTH), nn.Linear(8, WIDTH), nn.Linear(WIDTH, 4)
        self.blocks = nn.ModuleList([Block(), Block(), Block()])

    def forward(self, x: Tensor) -> Tensor:
        h, told = self.stem(x), {"text": self.text(x)}
        for block in self.blocks:
            h = block(h, told)
        return self.leave(h)  # type: ignore[no-any-return]


class Deep(Toy):
    pieces = "settled"

    def __init__(self) -> None:
        super().__init__()
        self.deep = seeded(Net, 0, "deep")

    def modules(self) -> dict[str, nn.Module]:
        return {"net": self.deep}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        error = (self.deep(batch["x"]).float() - batch["x"] @ self.target).square().mean()
        return error, {"error": error.detach()}


def state(folder: Path) -> dict[str, Tensor]:
    found = SavedState(folder)
    return {name: found.read(name) for name in found.names()}


def train(folder: Path, *ways: tuple[bool, int | None], **changes: Any) -> dict[str, Tensor]:
    """Each way on to where it stops: with or without."""
    for again, until in ways:
        torch.manual_seed(3)  # of dropout, which no run keeps
        fit(Deep(), plan(recompute=again, images=48, **changes), folder, "cpu", progress=False, stop_after=until)
    return state(folder)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("changes", [{}, {"precision": "bf16", "micro": 4}, {"lora": 2}, {"optimiser": "muon"}])
def test_a_run_with_it_is_the_run_without_it_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Running means and dropout included."""
    kept, again = (train(tmp_path / str(way), (way, None), **changes) for way in (False, True))
    assert same(kept, again) and any(name.endswith("running_mean") for name in kept)
    losses, others = ([line["loss"] for line in read_metrics(tmp_path / str(way))] for way in (False, True))
    assert losses == others


def test_it_may_change_at_any_resume(tmp_path: Path) -> None:
    kept = train(tmp_path / "kept", (False, 16), (False, 32), (False, None))
    assert same(kept, train(tmp_path / "changed", (True, 16), (False, 32), (True, None)))


def two(_rank: int, root: Path) -> None:
    sharding.UNIT = 2_000
    for again in (False, True):
        torch.manual_seed(3)
        about = plan(images=24, precision="bf16", clip=0.0, shard=True, recompute=again)
        fit(Deep(), about, root / str(again), "cpu", progress=False)


def test_it_is_the_same_where_weights_are_cut_among_ranks(tmp_path: Path) -> None:
    forked(2, two, tmp_path)
    assert same(state(tmp_path / "False"), state(tmp_path / "True"))
    assert len(list(sharding.units_of(Deep().deep))) == 0, "here units are as large as usual"


def test_what_is_inside_of_blocks_is_gone_between_the_passes() -> None:
    for again, alive in ((False, 3), (True, 0)):
        task, rows = Deep(), all_rows(0, 8)
        if again:
            recompute(task.modules())
        ALIVE.clear()
        loss, _ = task.loss(task.batch(rows), rows)
        assert len(ALIVE) == 3 and sum(not one.expired() for one in ALIVE) == alive  # type: ignore[no-untyped-call]
        loss.backward()  # type: ignore[no-untyped-call]
        assert len(ALIVE) == 3 + 3 * again


def test_bytes_and_operations_that_are_foretold() -> None:
    """Kept are what blocks are given, and one's inside; its last product need not be made again."""
    costs = []
    for twice in (False, True):
        task, about = Deep(), plan(recompute=twice)
        if twice:
            recompute(task.modules())
        costs.append(measure(task, task.batch(all_rows(0, 8)), about, torch.device("cpu")))
    kept, again = costs
    (block, *_) = list(task.deep.blocks)
    given = torch.zeros(8, WIDTH, requires_grad=True), {"text": torch.zeros(8, WIDTH)}
    inside = bytes_inside(block, (given, {}))
    sum_, hidden = 4 * 8 * WIDTH, 4 * 8 * HIDDEN  # the sum of both; before and after the norm, dropped
    assert inside >= sum_ + 3 * hidden and inside < sum_ + 5 * hidden
    assert kept.activation_bytes - again.activation_bytes == pytest.approx((2 * inside - 3 * sum_) / 8)
    assert kept.flops < again.flops == kept.flops + 3 * 2 * WIDTH * HIDDEN < 4 / 3 * kept.flops
    assert (kept.parameters, kept.units) == (again.parameters, again.units)


def test_looking_costs_no_random_number_and_moves_no_mean() -> None:
    """Else a run with it would not be the run without it."""
    task = Deep()
    recompute(task.modules())
    before = torch.get_rng_state()
    for block in task.deep.blocks:
        bytes_inside(block, ((torch.zeros(4, WIDTH), {"text": torch.zeros(4, WIDTH)}), {}))
    assert torch.equal(torch.get_rng_state(), before)
    means = [b.clone() for b in task.deep.buffers()]
    measure(task, task.batch(all_rows(0, 4)), plan(recompute=True), torch.device("cpu"))
    assert all(torch.equal(one, other) for one, other in zip(means, task.deep.buffers(), strict=True))


def test_without_gradients_blocks_are_called_once_and_copies_call_their_own() -> None:
    task = Deep()
    recompute(task.modules())
    net, x = deepcopy(task.deep).eval(), torch.ones(2, 8)
    ALIVE.clear()
    with torch.no_grad():
        before = task.deep.eval()(x)
        for parameter in net.blocks.parameters():
            parameter.zero_()
        assert torch.equal(task.deep(x), before) and not torch.equal(net(x), before)
    assert len(ALIVE) == 9

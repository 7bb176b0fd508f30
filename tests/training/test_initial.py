"""Networks of which each rank keeps its rows as they are built: the weights of one process, in less memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pinxit.training import initial
from pinxit.training.draws import seeded
from pinxit.training.initial import OwnRows, in_shards, network
from pinxit.training.local import span_of
from pinxit.training.loop import _take
from pinxit.training.lora import adapt, check_rank
from pinxit.training.parallel import Ranks

Build = Callable[[], nn.Module]


class Every(nn.Module):
    """What torch and our networks do to weights when they draw them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.conv, self.table = nn.Linear(6, 7), nn.Conv2d(4, 5, 3), nn.Embedding(9, 4)
        self.scaled = nn.Parameter(0.1 * torch.randn(5, 6))
        self.few, self.none = nn.Parameter(torch.randn(1, 8)), nn.Parameter(torch.empty(0, 4))
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.table.weight
        nn.init.normal_(self.linear.weight, mean=1.0, std=0.5)
        nn.init.kaiming_normal_(self.conv.weight)
        nn.init.xavier_uniform_(self.table.weight, generator=torch.Generator().manual_seed(1))
        nn.init.constant_(self.few, 3.0)
        with torch.no_grad():
            self.few.mul_(0.5)
            self.scaled.data.copy_(torch.randn(5, 6).mul_(2))
        self.later = nn.Linear(5, 5)  # draws what follows all of that


def by_rows(build: Build, world: int) -> tuple[nn.Module, list[nn.Module]]:
    """A network, and what each of `world` ranks keeps of it."""
    found = []
    for rank in range(world):
        with in_shards(Ranks(rank, world)):
            found.append(network(build, 0, "test"))
    return seeded(build, 0, "test"), found


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initial, "SMALL", 0)


@pytest.mark.parametrize("world", [2, 3, 8])
def test_rows_are_those_of_the_whole_however_they_are_drawn(world: int) -> None:
    whole, parts = by_rows(Every, world)
    for name, parameter in whole.named_parameters():
        rows = [part.get_parameter(name) for part in parts]
        if parameter.ndim < 2:
            assert all(torch.equal(row, parameter) and type(row) is nn.Parameter for row in rows), name
            continue
        for rank, row in enumerate(rows):
            assert isinstance(row, OwnRows) and row.shape == parameter.shape, name
            assert torch.equal(row.held, parameter[slice(*span_of(len(parameter), rank, world))]), name
            assert row.held.untyped_storage().nbytes() == row.held.nbytes, name  # not a view of the whole
    assert all(part.get_parameter("head.weight") is part.get_parameter("table.weight") for part in parts)


def orthogonal() -> nn.Module:
    made = nn.Linear(6, 6)
    nn.init.orthogonal_(made.weight)
    return made


def rejected() -> nn.Module:
    made = nn.Linear(6, 6)
    nn.init.trunc_normal_(made.weight, std=0.5)
    return made


def by_view() -> nn.Module:
    made = nn.Linear(6, 6)
    with torch.no_grad():
        made.weight[2:4] = 0.0
    return made


def by_matrix() -> nn.Module:
    made = nn.Linear(6, 6)
    with torch.no_grad():
        made.weight.mul_(torch.arange(36.0).view(6, 6))
    return made


@pytest.mark.parametrize("build", [orthogonal, rejected, by_view, by_matrix])
def test_what_needs_all_rows_is_built_whole(build: Build) -> None:
    whole, parts = by_rows(build, 2)
    for part in parts:
        assert not any(isinstance(one, OwnRows) for one in part.parameters())
        assert all(torch.equal(one, other) for one, other in zip(part.parameters(), whole.parameters(), strict=True))


def test_only_what_is_asked_for_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for ranks, wanted in ((Ranks(), True), (Ranks(0, 2), False)):
        with in_shards(ranks, wanted):
            assert not any(isinstance(one, OwnRows) for one in network(Every, 0, "test").parameters())
    with in_shards(Ranks(0, 2)):
        assert type(nn.Linear(6, 6).weight) is nn.Parameter  # another network, such as one that is only read
        monkeypatch.setattr(initial, "SMALL", 43)
        cut = {name for name, one in network(Every, 0, "test").named_parameters() if isinstance(one, OwnRows)}
        assert cut == {"conv.weight"}
    assert type(network(Every, 0, "test").linear.weight) is nn.Parameter


def test_weights_that_a_run_starts_from_are_taken_by_rows() -> None:
    whole, parts = by_rows(Every, 2)
    brought = {name: torch.randn(one.shape).bfloat16() for name, one in whole.state_dict().items() if name != "few"}
    brought["head.weight"] = brought["table.weight"]
    for rank, part in enumerate(parts):
        assert _take(part, "net", brought) == ["net/few"]
        for name, row in part.named_parameters():
            expected = brought[name].float() if name in brought else whole.get_parameter(name)
            held = row.held if isinstance(row, OwnRows) else row
            assert torch.equal(held, expected[slice(*span_of(len(expected), rank, 2))] if row.ndim > 1 else expected)


def test_lora_adapts_rows() -> None:
    whole, (part, _) = by_rows(Every, 2)
    assert check_rank({"net": part}, 2) == check_rank({"net": whole}, 2)
    for net in (whole, part):
        adapt({"net": net}, 2)
    kept = dict(part.named_parameters())
    for name, parameter in whole.named_parameters():
        assert kept[name].requires_grad == parameter.requires_grad and kept[name].shape == parameter.shape
        assert isinstance(kept[name], OwnRows) == (parameter.ndim > 1 and not parameter.requires_grad), name
        if parameter.requires_grad:
            assert torch.equal(kept[name], parameter), name


GROWN = """
from pathlib import Path
from torch import nn
from pinxit.training.initial import in_shards, network
from pinxit.training.parallel import Ranks

def large():
    return nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(24)))

def mebibytes(name):  # not by getrusage, whose peak is at least what the process had that started this one
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024

for world in (8, 1):
    before = mebibytes("VmRSS")
    with in_shards(Ranks(0, world)):
        built = network(large, 0, "large")
    print(mebibytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_rank_needs_memory_for_its_rows_and_one_tensor() -> None:
    """Of 96 MiB in 24 matrices; in a process of its own, since one that has freed memory takes no more."""
    told = subprocess.run([sys.executable, "-c", GROWN], check=True, capture_output=True, text=True).stdout
    an_eighth, whole = map(float, told.split())
    assert an_eighth < 96 / 8 + 3 * 4 + 10 and whole > 90, told

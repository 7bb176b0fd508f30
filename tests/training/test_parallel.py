"""Two ranks do what one does in two pieces, bit for bit, whoever trained before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed, nn

from pinxit.errors import UsageError
from pinxit.training import parallel
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.training.loop import Batch, Plan, Stop, fit
from pinxit.training.parallel import Ranks
from pinxit.training.rows import Rows
from tests.ranks import forked
from tests.training.test_step import Wide
from tests.training.toy import Toy, plan

pytestmark = pytest.mark.timeout(1800)  # processes that wait for each other are slow where others work, too


class Still(Wide):
    """Without a buffer that follows what one rank sees, and with three matrices for Muon, more than there are ranks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net.second = nn.Sequential(*(nn.Linear(64, 64) for _ in range(2)), self.net.second)  # type: ignore[assignment]

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        self.net.eval()
        return super().loss(batch, rows)


class Partly(Still):
    """The first half of an update says nothing of the table."""

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        if rows.start < rows.batch // 2:
            x = batch["x"]
            error = (self.net.second(torch.relu(self.net.first(x))).float() - x @ self.target).square().mean()
            return error, {"error": 0.0, "half": 0.5}
        return super().loss(batch, rows)


class Idle(Still):
    """No rank ever uses one of its weights, which decay would otherwise shrink."""

    def __init__(self) -> None:
        super().__init__()
        self.net.idle = nn.Linear(8, 8)


class Running(Toy):
    pieces = "settled"


class Halting(Still):
    """One rank alone has a loss that is not finite; and rows weigh by what is counted in all of them."""

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"kinds": batch["kind"].sum()}

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        loss, parts = super().loss(batch, rows)
        loss = loss * (batch["kind"].sum() / batch.get("kinds", torch.ones(())))
        return (loss * float("nan") if rows.position in (36, 44) else loss), parts


class Noted(Still):
    """Each rank writes down the positions that it has trained on."""

    ledger = Path()

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        if rows.batch == 8:  # not what is measured beforehand
            with self.ledger.open("a") as handle:
                handle.writelines(f"{position}\n" for position in rows.positions.tolist())
        return super().loss(batch, rows)


class Later(Stop):
    """Rank 1 hears a signal at the fifth question."""

    asked = 0

    def due(self) -> bool:
        self.asked += 1
        self.signalled = self.asked >= 5 and distributed.get_rank() == 1
        return self.signalled


TASKS = {"still": Still, "partly": Partly, "idle": Idle, "running": Running, "halting": Halting}
MUON = {"optimiser": "muon", "lr": 3e-3}
JOBS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "adamw": ("still", {"micro": 4}, 96),
    "muon": ("still", {"micro": 4, **MUON}, 96),
    "partly": ("partly", {"micro": 4, "precision": "bf16"}, None),
    "idle": ("idle", {"micro": 4, "decay": 0.5}, None),
    "halting": ("halting", {"micro": 4}, None),
    "running": ("running", {}, 64),
    "stopped": ("still", {}, None),
    "quarters": ("still", {"micro": 2}, None),
}
"""What two ranks train, by folder; the first two go on from one rank and are gone on with by one."""
BEGUN = ("adamw", "muon")


def one(folder: Path, kind: str, until: int | None = None, **changes: Any) -> dict[str, Tensor]:
    fit(TASKS[kind](), plan(**changes), folder, "cpu", progress=False, stop_after=until)
    return load_file(folder / states.FILE)


def work(rank: int, root: Path, names: tuple[str, ...]) -> None:
    parallel.BUCKET = 100  # several of them
    for name in names:
        kind, changes, until = JOBS[name]
        stop = Later() if name == "stopped" else None
        about = plan(**({"batch": 12} | changes if distributed.get_world_size() == 3 else changes))
        out = fit(TASKS[kind](), about, root / name, "cpu", progress=False, stop_after=until, stop=stop)
        (root / f"{name}-{rank}").write_text(f"{out.progress.images} {out.signalled}")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks have made of all jobs."""
    root = tmp_path_factory.mktemp("two")
    for name in BEGUN:
        one(root / name, JOBS[name][0], 40, **JOBS[name][1])
    forked(2, work, root, tuple(JOBS))
    for name in BEGUN:
        one(root / name, JOBS[name][0], **JOBS[name][1])
    return root


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("name", ["adamw", "muon", "partly", "idle", "halting"])
def test_two_ranks_are_one_in_two_pieces_and_runs_go_on_at_any_number(two: Path, tmp_path: Path, name: str) -> None:
    kind, changes, _ = JOBS[name]
    assert same(one(tmp_path, kind, **changes), load_file(two / name / states.FILE))
    lines, others = read_metrics(tmp_path), read_metrics(two / name)
    for number in ("images", "loss", "grad_norm", "lr", "error", "skipped"):
        told, wanted = ([-1.0 if line[number] is None else line[number] for line in some] for some in (lines, others))
        assert told == pytest.approx(wanted, rel=1e-5), number
    assert len(lines) == 16 and lines[-1]["skipped"] == (2 if name == "halting" else 0)
    assert (two / name / "preview.png").is_file()


def test_two_ranks_in_two_pieces_are_one_in_four_but_for_the_order_of_sums(two: Path, tmp_path: Path) -> None:
    alone, found = one(tmp_path, "still", micro=2), load_file(two / "quarters" / states.FILE)
    assert alone.keys() == found.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(tensor, found[name], atol=1e-6, rtol=1e-4, msg=name)
    losses = [[line["loss"] for line in read_metrics(folder)] for folder in (tmp_path, two / "quarters")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_all_stop_when_one_is_told_to(two: Path) -> None:
    assert {(two / f"stopped-{rank}").read_text() for rank in (0, 1)} == {"40 True"}
    assert states.read_progress(two / "stopped").images == 40


def test_running_means_are_those_of_rank_0(two: Path) -> None:
    """What rows are normalised by does not drift apart, and another number of pieces is refused."""
    with pytest.raises(UsageError, match="trained with micro-batches of 4 pictures, not 8"):
        one(two / "running", "running")
    assert states.read_piece(two / "running") == 4
    one(two / "running", "running", micro=4)


def go_on(rank: int, root: Path, until: int) -> None:
    task = Noted()
    task.ledger = root / f"ledger-{until}-{rank}"
    fit(task, plan(micro=2), root / "run", "cpu", progress=False, stop_after=until)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_goes_from_one_rank_to_two_to_four_to_one(tmp_path: Path) -> None:
    """Every picture is trained on once, by whichever rank; the weights are one rank's but for the order of sums."""
    for ranks, until in ((1, 40), (2, 72), (4, 104), (1, 128)):
        if ranks == 1:
            go_on(0, tmp_path, until)
        else:
            forked(ranks, go_on, tmp_path, until)
    seen = sorted(int(line) for path in tmp_path.glob("ledger-*") for line in path.read_text().split())
    assert seen == list(range(128))
    assert len(list(tmp_path.glob("ledger-104-*"))) == 4
    found = load_file(tmp_path / "run" / states.FILE)
    for name, tensor in one(tmp_path / "alone", "still", micro=2).items():
        torch.testing.assert_close(tensor, found[name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_three_ranks_agree_with_one_closely(tmp_path: Path) -> None:
    forked(3, work, tmp_path / "three", ("adamw",))
    found = load_file(tmp_path / "three" / "adamw" / states.FILE)
    for name, tensor in one(tmp_path / "one", "still", 96, batch=12, micro=4).items():
        torch.testing.assert_close(tensor, found[name], atol=1e-5, rtol=1e-4)


def test_what_cannot_be_shared_out_is_refused() -> None:
    task, about = Toy(), Plan(images=8, batch=12, micro=4)
    with pytest.raises(UsageError, match="a batch of 12 cannot be shared among 5 ranks"):
        Ranks(0, 5).rows(task, about, 0)
    with pytest.raises(UsageError, match=r"plan\.micro=4 does not divide the 6 pictures of a rank"):
        Ranks(1, 2).rows(task, about, 0)
    assert [(rows.start, rows.count) for rows in Ranks(2, 3).rows(task, about, 24)] == [(8, 4)]
    assert [rows.position for rows in Ranks(0, 1).rows(task, about, 24)] == [24, 28, 32]
    task.pieces = "one"  # type: ignore[attr-defined]
    assert [rows.count for rows in Ranks(0, 1).rows(task, about, 0)] == [12]

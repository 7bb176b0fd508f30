from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.config import from_dict, to_dict
from pinxit.errors import CheckpointError, PinxitError, UsageError
from pinxit.training import state as states
from pinxit.training.draws import seeded
from pinxit.training.flops import measure
from pinxit.training.log import METRICS, read_metrics
from pinxit.training.loop import Batch, Plan, Stop, fit
from pinxit.training.machine import machine
from pinxit.training.precision import pick_device
from pinxit.training.rows import Rows, all_rows
from pinxit.weights import tensor_files
from tests.models.test_torch_defaults import SETTINGS
from tests.training.toy import Net, Toy, plan


def train(folder: Path, task: Toy | None = None, until: int | None = None, **changes: object) -> Toy:
    task = task or Toy()
    fit(task, plan(**changes), folder, "cpu", progress=False, stop_after=until)
    return task


def saved(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / states.FILE)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("micro", [0, 2])
def test_stop_and_resume_equals_straight_through(tmp_path: Path, precision: str, micro: int) -> None:
    """Weights, averages, moments, buffers and logged losses, bit for bit, wherever the run was cut."""
    train(tmp_path / "straight", precision=precision, micro=micro)
    for until in (8, 40, 41, 120, None):  # 41 is passed by the batch that ends at 48
        train(tmp_path / "cut", until=until, precision=precision, micro=micro)
    straight, cut = saved(tmp_path / "straight"), saved(tmp_path / "cut")
    assert straight.keys() == cut.keys()
    kinds = {name.rsplit("/", 2)[0].split("/net")[0] for name in straight}
    assert kinds == {"weights", "average", "adam/exp_avg", "adam/exp_avg_sq", "adam/step"}
    for name, tensor in straight.items():
        assert torch.equal(tensor, cut[name]), name
    losses = [[line["loss"] for line in read_metrics(tmp_path / run)] for run in ("straight", "cut")]
    assert losses[0] == losses[1] and len(losses[0]) == 16
    train(tmp_path / "cut", precision=precision, micro=micro, images=640)
    further = [line["loss"] for line in read_metrics(tmp_path / "cut")]
    assert sum(further[-8:]) < 0.6 * sum(further[:8])


def test_killed_between_saves_resumes_exactly(tmp_path: Path) -> None:
    """Steps logged after the last save are made again; their lines, the torn last one included, are forgotten."""
    train(tmp_path / "straight")
    train(tmp_path / "killed", until=40)
    kept = (tmp_path / "killed" / states.FILE).read_bytes()
    train(tmp_path / "killed", until=80)
    (tmp_path / "killed" / states.FILE).write_bytes(kept)
    with (tmp_path / "killed" / METRICS).open("a") as file:
        file.write('{"stage": "toy", "ima')
    train(tmp_path / "killed")
    straight, killed = saved(tmp_path / "straight"), saved(tmp_path / "killed")
    assert all(torch.equal(tensor, killed[name]) for name, tensor in straight.items())
    assert [line["images"] for line in read_metrics(tmp_path / "killed")] == list(range(8, 129, 8))


def test_micro_batches_add_up_to_the_whole(tmp_path: Path) -> None:
    """Two halves give the whole's gradient, so the same first update."""

    class Halves(Toy):
        def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
            self.net.eval()  # the buffer would see other batches
            return super().loss(batch, rows)

    train(tmp_path / "whole", Halves(), until=8)
    train(tmp_path / "micro", Halves(), until=8, micro=4)
    whole, micro = saved(tmp_path / "whole"), saved(tmp_path / "micro")
    for name, tensor in whole.items():
        assert torch.allclose(tensor, micro[name], rtol=1e-4, atol=1e-6), name


def test_a_longer_plan_goes_on_and_another_batch_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    train(tmp_path, images=160)
    assert states.read_progress(tmp_path).images == 160
    with pytest.raises(UsageError, match="started with batch=8, not 16"):
        train(tmp_path, images=320, batch=16)


def test_a_state_whose_plan_had_a_seed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans once had one, which the loop never heeded."""
    with monkeypatch.context() as older:
        older.setattr("pinxit.training.loop.to_dict", lambda plan: to_dict(plan) | {"seed": 3})
        train(tmp_path, until=64)
    assert states.read_plan(tmp_path)["seed"] == 3
    train(tmp_path)
    assert states.read_progress(tmp_path).images == 128 and "seed" not in states.read_plan(tmp_path)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    train(tmp_path)
    before = (tmp_path / states.FILE).stat().st_mtime_ns
    outcome = fit(Toy(), plan(), tmp_path, "cpu", progress=False)
    assert outcome.finished and not outcome.signalled
    assert (tmp_path / states.FILE).stat().st_mtime_ns == before


class Blinded(Toy):
    """Sees nothing but NaN where it is poisoned, and takes that into its running mean."""

    def batch(self, rows: Rows) -> Batch:
        batch = super().batch(rows)
        return batch | ({"x": batch["x"] * float("nan")} if self.poison.intersection(rows.positions.tolist()) else {})


@pytest.mark.parametrize("kind", [Toy, Blinded])
def test_non_finite_batches_change_nothing(tmp_path: Path, kind: type[Toy]) -> None:
    """Neither weights nor what a module keeps of what it sees, which would be lost for good."""
    train(tmp_path / "a", until=40)
    before = saved(tmp_path / "a")
    train(tmp_path / "a", kind(poison=frozenset([40, 48])), until=56)
    after = saved(tmp_path / "a")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert read_metrics(tmp_path / "a")[-1]["skipped"] == 2
    assert read_metrics(tmp_path / "a")[-1]["loss"] is None  # JSON has no NaN
    train(tmp_path / "a", until=64)
    assert not torch.equal(after["weights/net/middle"], saved(tmp_path / "a")["weights/net/middle"])
    with pytest.raises(PinxitError, match="not finite 50 batches in a row"):
        train(tmp_path / "b", kind(poison=frozenset(range(0, 8000, 8))), images=8000)


@pytest.mark.parametrize(("first_bad", "minutes"), [(0, 5.0), (8, 5.0), (16, 5.0), (16, 0.0)])
def test_a_run_that_ends_among_bad_batches_is_no_result(tmp_path: Path, first_bad: int, minutes: float) -> None:
    """From some batch on nothing has a finite loss: the run ends with an error, and is not finished when looked at."""
    poison = frozenset(range(first_bad, 80, 8))
    with pytest.raises(PinxitError, match=f"not finite in the last {len(poison)} batches.*remove the stage's folder"):
        train(tmp_path, Toy(poison=poison), images=80, save_minutes=minutes)
    assert states.read_progress(tmp_path).images < 80


def test_a_single_bad_batch_at_the_end_is_forgiven(tmp_path: Path) -> None:
    train(tmp_path, Toy(poison=frozenset({72})), images=80)
    assert states.read_progress(tmp_path).images == 80


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, value: float) -> None:
    class Broken(Toy):
        def after_step(self) -> None:
            super().after_step()
            if self.stepped == 3:
                with torch.no_grad():
                    self.net.second.bias[0] = value

    train(tmp_path, until=8)
    before = (tmp_path / states.FILE).read_bytes()
    with pytest.raises(PinxitError, match=r"not finite any more, so they are not saved; remove that folder to train"):
        train(tmp_path, Broken(), until=40)
    assert (tmp_path / states.FILE).read_bytes() == before


def test_a_trial_that_fails_half_way_leaves_no_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled backward may fail after the last layers have their gradients: the first update must not add them."""

    class Halting(Toy):
        trial = False

        def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
            found, parts = super().loss(batch, rows)
            if self.trial:
                self.net.first.weight.register_post_accumulate_grad_hook(halt)  # type: ignore[no-untyped-call]
            return found, parts

    def halt(parameter: Tensor) -> None:
        if task.trial:
            raise RuntimeError("the compiler gives up")

    def compile_modules(modules: object, plan: object, device: object, trial: Callable[[], None]) -> str:
        task.trial = True
        with pytest.raises(RuntimeError, match="gives up"):
            trial()
        task.trial = False
        return "not compiled"

    task = Halting()
    train(tmp_path / "plain", until=16)
    monkeypatch.setattr("pinxit.training.loop.compile_modules", compile_modules)
    train(tmp_path / "tried", task, until=16)
    one, other = saved(tmp_path / "plain"), saved(tmp_path / "tried")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_initial_weights_are_taken_once(tmp_path: Path) -> None:
    donor = train(tmp_path / "donor")
    init = {"net": donor.net.state_dict()}
    fit(Toy(seed=5), plan(), tmp_path / "run", "cpu", progress=False, stop_after=0, init=init)
    assert torch.equal(saved(tmp_path / "run")["weights/net/first.weight"], donor.net.first.weight)
    train(tmp_path / "run", Toy(seed=5), until=40)
    moved = saved(tmp_path / "run")["weights/net/first.weight"]
    fit(Toy(seed=5), plan(), tmp_path / "run", "cpu", progress=False, stop_after=0, init=init)
    assert torch.equal(saved(tmp_path / "run")["weights/net/first.weight"], moved)


def test_what_a_model_has_grown_begins_anew_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    donor = train(tmp_path / "donor")
    older = {name: tensor for name, tensor in donor.net.state_dict().items() if not name.startswith("middle")}
    fit(Toy(seed=5), plan(), tmp_path / "run", "cpu", stop_after=8, init={"net": older})
    assert (
        "starts from scratch, at least in part, as the checkpoint does not have them: net/middle"
        in capsys.readouterr().err
    )
    fit(Toy(seed=5), plan(), tmp_path / "still", "cpu", progress=False, stop_after=0, init={"net": older})
    found, fresh = saved(tmp_path / "still"), Toy(seed=5).net.state_dict()
    for name, tensor in donor.net.state_dict().items():
        assert torch.equal(found[f"weights/net/{name}"], older.get(name, fresh[name])), name
        assert name in older or not torch.equal(tensor, fresh[name])
    for foreign, why in (("seventh.weight", "missing"), ("first.weight", r"of shape \[32, \d+\]")):
        told = rf"of 'net' are of another model: {foreign} is of shape \[1\] there and {why} here\.$"
        with pytest.raises(CheckpointError, match=told):
            init = {"net": older | {foreign: torch.zeros(1)}}
            fit(Toy(seed=5), plan(), tmp_path / "other", "cpu", progress=False, stop_after=0, init=init)


def test_task_hooks_and_files(tmp_path: Path) -> None:
    task = train(tmp_path, preview_every=64)
    assert task.stepped == 16
    assert {path.name for path in tmp_path.iterdir()} == {states.FILE, states.BEFORE, METRICS, "preview.png"}
    line = read_metrics(tmp_path)[-1]
    assert line["images"] == 128 and line["half"] == 0.5 and line["error"] == line["loss"]
    assert states.read_machine(tmp_path) == machine("cpu")
    assert line["pictures_per_s"] > 0 and line["gflops_per_s"] > 0 and 0 < line["share"] < 1
    assert 0 < line["waiting"] < 1
    assert states.read_weights(tmp_path, "net").keys() == task.net.state_dict().keys()


def test_state_of_another_model_or_damaged_is_refused(tmp_path: Path) -> None:
    train(tmp_path, until=8)
    other = Toy()
    other.net.second = torch.nn.Linear(32, 5)
    with pytest.raises(CheckpointError, match=r"second\.\w+' of shape .* written for another model"):
        train(tmp_path, other)
    other.net.second = torch.nn.Linear(32, 4, bias=False)
    with pytest.raises(CheckpointError, match=r"unknown 'average/net/second.bias'"):
        train(tmp_path, other)
    (tmp_path / states.FILE).write_bytes((tmp_path / states.FILE).read_bytes()[:200])
    with pytest.raises(CheckpointError, match="not a training state"):
        train(tmp_path)


def test_places_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PinxitError, match=r"cannot write .*file"):
        train(tmp_path / "file" / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_keeps_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, until=8)
    before = (tmp_path / states.FILE).read_bytes()

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        with Path("/dev/full").open("wb") as device:
            device.write(b"x" * 100_000)

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(PinxitError, match=r"cannot write .*: No space left"):
        train(tmp_path)
    assert (tmp_path / states.FILE).read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_of_metrics_is_one_sentence(tmp_path: Path) -> None:
    """Which closing the file, that tries to write what is left, does not hide."""
    (tmp_path / METRICS).symlink_to("/dev/full")
    with pytest.raises(PinxitError, match=r"cannot write .*metrics\.jsonl: No space left"):
        train(tmp_path)


def test_time_limit_stops_cleanly(tmp_path: Path) -> None:
    outcome = fit(Toy(), plan(), tmp_path, "cpu", progress=False, stop=Stop(minutes=0))
    assert not outcome.finished and not outcome.signalled and outcome.progress.images == 8
    train(tmp_path / "straight")
    train(tmp_path)
    assert torch.equal(
        saved(tmp_path)["weights/net/first.weight"], saved(tmp_path / "straight")["weights/net/first.weight"]
    )


def test_a_previews_scores_stand_in_one_line(tmp_path: Path) -> None:
    class Scored(Toy):
        def scores(self) -> dict[str, float]:
            return {"scored": 1.0}

    train(tmp_path, Scored(), preview_every=64)
    lines = read_metrics(tmp_path)
    assert len(lines) == 16 and [line["images"] for line in lines if "scored" in line] == [64, 128]


def test_the_last_update_has_a_line_whatever_the_interval(tmp_path: Path) -> None:
    """That of the run, and that of an invocation that is to stop before (`stop_after`)."""
    settled = plan(log_every=48)
    fit(Toy(), settled, tmp_path, "cpu", progress=False, stop_after=64)
    assert [line["images"] for line in read_metrics(tmp_path)] == [48, 64]
    fit(Toy(), settled, tmp_path, "cpu", progress=False)
    lines = read_metrics(tmp_path)
    assert [line["images"] for line in lines] == [48, 64, 96, 128]
    work = measure(Toy(), Toy().batch(all_rows(0, 4)), settled, torch.device("cpu")).flops
    for line in lines:
        assert line["gflops_per_s"] == pytest.approx(work * line["pictures_per_s"] / 1e9, rel=1e-4)


def training_for_ever(folder: Path) -> int:
    """The number of a process, forked from this one, that says what it says into `folder`/said."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            signal.signal(number, usual)
        with (folder / "said").open("w") as sys.stderr:
            try:
                code = 130 if fit(Toy(), plan(images=10**9), folder, "cpu").signalled else 0
            except BaseException:
                traceback.print_exc()
    finally:
        os._exit(code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    child, end, told, status = training_for_ever(tmp_path), time.monotonic() + 120, False, None
    try:
        while status is None and time.monotonic() < end:
            time.sleep(0.05)
            if not told and read_metrics(tmp_path):
                os.kill(child, number)
                told = True
            pid, found = os.waitpid(child, os.WNOHANG)
            status = found if pid else None
    finally:
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    said = (tmp_path / "said").read_text()
    assert status is not None and os.waitstatus_to_exitcode(status) == 130, said
    assert "images, loss" in said  # no terminal: plain lines
    done = states.read_progress(tmp_path)
    assert done.images == done.updates * 8 > 0
    assert read_metrics(tmp_path)[-1]["images"] <= done.images


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_training_compiles_and_learns_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(Toy(), plan(compile="yes"), tmp_path / "compiled", "cpu")
    assert "float32, compiled" in capsys.readouterr().err
    train(tmp_path / "plain")
    one, other = saved(tmp_path / "compiled"), saved(tmp_path / "plain")
    assert all(torch.allclose(tensor, other[name], atol=1e-3) for name, tensor in one.items())


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    for name in ("nonsense", "meta", "mps", "cuda:x", "cuda:99999", "", "cpu:1", "a\n\udcff"):
        with pytest.raises(UsageError, match="must be auto, cpu, cuda or cuda:N, not") as told:
            pick_device(name)
        str(told.value).encode()
    with pytest.raises(UsageError, match="device 'cuda:99' cannot be used here: torch finds "):
        pick_device("cuda:99")


@pytest.mark.parametrize("setting", [*SETTINGS.values(), torch.no_grad], ids=[*SETTINGS, "no gradients"])
def test_what_a_program_has_set_for_all_of_torch_does_not_reach_a_run(
    setting: Callable[[], AbstractContextManager[Any]], tmp_path: Path
) -> None:
    train(tmp_path / "usual", images=32)
    task, before = Toy(), torch.get_rng_state()
    with setting():
        net = seeded(Net, 0, "toy")
        found = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device()
        train(tmp_path / "odd", task, images=32)
        assert found == (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device())
    assert torch.equal(before, torch.get_rng_state())
    usual, odd = saved(tmp_path / "usual"), saved(tmp_path / "odd")
    assert all(one.dtype == odd[name].dtype and torch.equal(one, odd[name]) for name, one in usual.items())
    assert net.first.weight.dtype == torch.float32
    assert net.first.weight.is_meta == (found[2].type == "meta"), "who builds there asks for shapes alone"


def test_plans_are_checked() -> None:
    for bad in ({"batch": 0}, {"batch": 8, "micro": 3}, {"batch": 8, "betas": (0.9,)}):
        with pytest.raises(UsageError):
            Plan(images=8, **bad)
    with pytest.raises(UsageError, match=r"^plan: micro 3 must divide batch 8\.$"):
        from_dict(Plan, {"images": 8, "batch": 8, "micro": 3}, "plan")
    numbers: dict[str, Any] = {"images": np.int64(8), "batch": np.int32(4), "lr": np.float32(0.5)}
    numbers["betas"] = (np.float64(0.8), np.float32(0.5))
    assert json.dumps(to_dict(Plan(**numbers))).count("0.5") == 2


def test_previews_are_twenty_but_at_least_fifty_updates_apart(tmp_path: Path) -> None:
    """Each costs many forward passes; the last update always draws one."""
    assert Plan(images=100_000, batch=10).preview_interval() == 5000
    assert Plan(images=9_000, batch=10).preview_interval() == 500
    assert Plan(images=9_000, batch=10, preview_every=20).preview_interval() == 20
    drawn: list[int] = []
    task = Toy()
    task.preview = lambda: drawn.append(task.stepped)  # type: ignore[method-assign]
    train(tmp_path, task, images=8 * 102)
    assert drawn == [50, 100, 102]


def test_metrics_are_json(tmp_path: Path) -> None:
    train(tmp_path, until=16)
    file = tmp_path / METRICS
    file.write_text(file.read_text().removesuffix("\n"))  # all but the end of a line, when the power went
    train(tmp_path, until=24)
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert [json.loads(line)["images"] for line in lines] == [8, 16, 24]

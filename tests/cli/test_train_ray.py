"""Training by Ray: the same command on every worker, and the weights of a run that lost nobody."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pinxit import cluster
from pinxit.cli.train import by_ray as module
from pinxit.cli.train.by_ray import arguments, worker_range
from pinxit.errors import UsageError, install
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from tests.cli.helpers import Cli
from tests.processes import below
from tests.recipes.squares import write_squares

IMAGES = 6400  # eight hundred updates, each of which is saved: half a minute, in which a worker can be killed


def test_workers_are_given_the_command_without_what_says_so() -> None:
    given = ["train", "clip", "--engine", "ray", "--out", "here", "--workers", "2", "--quiet"]
    assert arguments(given) == ["train", "clip", "--out", "here", "--quiet"]
    assert arguments(["train", "clip", "--workers=2-8", "--engine=ray", "--set", "seed=1"]) == [
        "train",
        "clip",
        "--set",
        "seed=1",
    ]


def test_as_many_workers_as_can_be_where_nobody_says() -> None:
    assert [worker_range(0, 0, 8), worker_range(2, 2, 8), worker_range(2, 6, 8)] == [(8, 8), (2, 2), (2, 6)]


def test_groups_that_are_lost_where_they_stand_end_the_run() -> None:
    kept = module.OutcomeRecorder()
    for saved in (1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0):
        kept.begin(saved)
        kept.lose("RuntimeError: out of memory")
    assert kept.outcome() == (None, "")
    kept.begin(2.0)
    assert str(kept.outcome()[0]).endswith("of the last one: RuntimeError: out of memory.")
    kept.end(UsageError("another"), "")
    assert "another" not in str(kept.outcome()[0]), "the first one counts"


@pytest.mark.parametrize("workers", ["0", "x", "2-", "-2", "4-2", "1.5", ""])
def test_workers_that_make_no_sense_are_refused(workers: str, cli: Cli, tmp_path: Path) -> None:
    done = cli("train", "clip", "--preset", "nano", "--out", tmp_path / "r", "--engine", "ray", f"--workers={workers}")
    assert (done.code, done.err.count("\n")) == (2, 1) and "write a number of processes" in done.err
    assert not (tmp_path / "r").exists()


def test_workers_are_rays_and_ray_must_be_there(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("train", "judge", "--out", tmp_path, "--workers", 2)
    assert (done.code, "--workers 2 is for --engine ray" in done.err) == (2, True)
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    done = cli("train", "judge", "--out", tmp_path, "--engine", "ray")
    assert (done.code, done.err) == (2, f"pinxit: --engine ray needs Ray: {install('ray')}.\n")


def test_a_config_that_does_not_fit_starts_no_cluster(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train_by_ray", None)
    done = cli("train", "clip", "--preset", "nano", "--out", tmp_path, "--engine", "ray", "--set", "plan.batch=x")
    assert done.code == 2 and "plan.batch" in done.err


def clip(squares: Path, out: Path) -> list[str]:
    fields = ["data.neighbours=false", "data.pictures=16", "data.held_out=4", "plan.batch=8", "plan.precision=fp32"]
    fields += [f"plan.images={IMAGES}", "plan.save_minutes=0", "plan.log_every=8", f"plan.preview_every={IMAGES}"]
    changes = [part for field in fields for part in ("--set", field)]
    return ["train", "clip", "--preset", "nano", "--data", str(squares), "--out", str(out), "--quiet", *changes]


def started(words: list[str], **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pinxit", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


def undisturbed(squares: Path, out: Path) -> str:
    """Two ranks as torchrun starts them; what they print."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(asked.getsockname()[1]), "WORLD_SIZE": "2"}
    ranks = [started(clip(squares, out), **where, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]
    told = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], told
    return "".join(printed for printed, _ in told)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_that_loses_a_worker_ends_with_the_weights_of_one_that_does_not(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    squares, out = write_squares(tmp_path / "squares"), tmp_path / "by-ray"
    expected = undisturbed(squares, tmp_path / "alone")
    running, killed = started([*clip(squares, out), "--engine", "ray", "--workers", "2"]), list[int]()
    while running.poll() is None and not killed:
        if (out / "clip" / "metrics.jsonl").is_file() and len(read_metrics(out / "clip")) >= 5:
            killed = [pid for pid, words in below(running.pid) if "RayTrainWorker" in words][-1:]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    told, errors = running.communicate()
    assert running.returncode == 0, errors
    assert killed, "one was at work"
    assert told == expected.replace(str(tmp_path / "alone"), str(out)) and told.strip().endswith("checkpoint")
    lines = [line["images"] for line in read_metrics(out / "clip")]
    assert lines == sorted(set(lines)) and lines[-1] == IMAGES, "no update is told twice"
    found, wanted = (load_file(folder / "clip" / states.FILE) for folder in (out, tmp_path / "alone"))
    assert found.keys() == wanted.keys()
    assert all(tensor.equal(wanted[name]) for name, tensor in found.items())
    assert not (out / ".ray").exists(), "Ray leaves nothing in the run"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_worker_refuses_is_said_once(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    squares = write_squares(tmp_path / "squares")
    words = [*clip(squares, tmp_path / "out"), "--set", "plan.batch=7", "--engine", "ray", "--workers", "2"]
    running = started(words)
    told, errors = running.communicate()
    assert (running.returncode, told) == (2, "")
    assert errors == "pinxit: clip: a batch of 7 cannot be shared among 2 ranks: change plan.batch.\n"

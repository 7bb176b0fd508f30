"""A run whose workers become fewer and more goes on at the new number and sees the positions of one rank."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.cli.train import by_ray
from pinxit.cli.train.by_ray import usable_worker_counts
from pinxit.cluster import PATIENCE
from pinxit.config import override
from pinxit.recipes.clip.presets import preset as clip_preset
from pinxit.recipes.dalle.presets import nano
from pinxit.recipes.imagen.presets import preset as imagen_preset
from pinxit.training import state as states
from pinxit.training.log import read_metrics
from pinxit.training.plan import plans_in
from pinxit.training.saved_state import FOLDER, SavedState, saves_of
from tests.recipes.squares import write_squares

STEP = 8  # pictures of an update
LISTEN = "dashboard_agent_listen_port"
QUICK = "from pinxit.cli.train import by_ray; by_ray.LOOK = 2.0; from pinxit.cli import main; main()"


def test_as_many_workers_work_as_can_share_out_the_batch_of_every_stage() -> None:
    config = override(nano(), ["plans.dvae.batch=12", "plans.transformer.batch=24", "plans.clip.batch=12"])
    assert usable_worker_counts(config, 9) == [1, 2, 3, 4, 6]
    assert usable_worker_counts(override(config, ["plans.dvae.micro=3"]), 9) == [1, 2, 4, 6], (
        "not four at a time in threes"
    )
    assert usable_worker_counts(override(config, ["plans.dvae.batch=7"]), 9) == [1]
    assert usable_worker_counts(override(config, ["plans.dvae.batch=7", "plans.dvae.images=0"]), 4) == [1, 2, 3, 4], (
        "is not trained"
    )
    assert usable_worker_counts(clip_preset("nano"), 2) == [1, 2]
    assert [len(list(plans_in(one))) for one in (clip_preset("nano"), nano(), imagen_preset("nano"))] == [1, 3, 2]


def words(squares: Path, out: Path, images: int, *changes: str) -> list[str]:
    plan = {"batch": STEP, "micro": STEP // 2, "precision": "fp32", "schedule": "constant", "images": images}
    plan |= {"log_every": STEP, "preview_every": 10**9, "save_minutes": 0.01, "warmup": 0, "lr": 1e-4}
    fields = ["data.pictures=8", "data.ranking=0", *(f"plans.dvae.{name}={value}" for name, value in plan.items())]
    usual = ["train", "dalle", "--preset", "nano", "--data", str(squares), "--out", str(out), "--quiet"]
    return [*usual, "--stages=pictures,tokenizer,dvae", *(f"--set={field}" for field in (*fields, *changes))]


def waited(running: subprocess.Popen[str], done: Callable[[], bool], seconds: float = 1800) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end, "nothing has happened"
        time.sleep(0.05)


def check_as_one_rank(squares: Path, out: Path, alone: Path) -> None:
    """Every update's loss is that of one rank at the same place, and so are the weights at the end."""
    stage = out / "dvae"
    images = states.read_progress(stage).images
    outcome = CliRunner().invoke(app, words(squares, alone, images))
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    told = [line for line in read_metrics(stage) if line["images"] <= images]
    expected = read_metrics(alone / "dvae")
    assert (
        [line["images"] for line in told] == [line["images"] for line in expected] == [*range(STEP, images + 1, STEP)]
    )
    assert [line["loss"] for line in told] == pytest.approx([line["loss"] for line in expected], rel=1e-4)
    found, wanted = SavedState(stage), SavedState(alone / "dvae")
    assert sorted(found.names()) == sorted(wanted.names())
    for name in wanted.names():
        torch.testing.assert_close(found.read(name), wanted.read(name), atol=1e-4, rtol=1e-3, msg=name)


class Keeper:
    """What `OutcomeRecorder` is told, written into a file; `ray.get` of what it answers is that itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getattr__(self, name: str) -> Any:
        def remote(*given: object) -> object:
            with self.path.open("a") as handle:
                handle.write(f"{name} {given}\n" if name != "outcome" else "")
            return None, ""

        return SimpleNamespace(remote=remote)


def worker(rank: int, world: int, port: int, config: dict[str, Any]) -> None:
    """What Ray does for one, without Ray."""
    place = SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: world, get_local_rank=lambda: rank)
    near = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")
    fakes: dict[str, Any] = {
        "ray": SimpleNamespace(get=lambda answer: answer, util=near),
        "ray.train": SimpleNamespace(get_context=lambda: place),
        "ray.train.collective": SimpleNamespace(broadcast_from_rank_zero=lambda mine: ("127.0.0.1", port)),
    }
    sys.modules.update(fakes)
    by_ray.run_worker(config)


@pytest.mark.timeout(1800)  # processes that wait for each other are slow where others work, too
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_group_of_another_size_goes_on_from_what_was_shared(tmp_path: Path) -> None:
    """Two workers, one, and three, of whom one has nothing to do; what Ray itself does is the slow test's."""
    squares, out, kept = write_squares(tmp_path / "squares"), tmp_path / "run", tmp_path / "kept"
    fork: Any = multiprocessing.get_context("fork")
    for world, images in ((2, 16), (1, 32), (3, 48)):
        command = words(squares, out, images, "plans.dvae.shard=true")
        config = {"command": command, "here": str(tmp_path), "threads": 1, "kept": Keeper(kept), "run": str(out)}
        config |= {"sizes": [1, 2, 4], "gpus": False}
        port = by_ray._free_port()
        group = [fork.Process(target=worker, args=(rank, world, port, config)) for rank in range(world)]
        for one in group:
            one.start()
        for one in group:
            one.join()
        assert [one.exitcode for one in group] == [0] * world
        assert states.read_progress(out / "dvae").images == images
        assert (SavedState(out / "dvae").path.parent.name == FOLDER) == (world > 1), "one rank writes all into one file"
    lines = kept.read_text().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["begin", "end"] * 3
    assert lines[0] == "begin (0.0,)" and lines[2] != lines[4], "when it was last saved"
    check_as_one_rank(squares, out, tmp_path / "one")


def machine() -> dict[str, Any]:
    """What a node of a cluster is started with.

    Where Ray chooses the ports of a node's agent, its raylet waits 15 s for the agent to tell them, however busy the
    machine is, and dies (ray-project/ray#65983); `include_dashboard` changes nothing about that.
    """
    ports = ("metrics_agent_port", "metrics_export_port", LISTEN, "runtime_env_agent_port")
    return {"num_cpus": 1, "object_store_memory": 100 * 2**20} | {name: by_ray._free_port() for name in ports}


def tell_raylets_the_last_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the four, which Ray tells the agent alone."""
    from ray._private import services

    start = services.start_ray_process

    def started(command: list[str], *given: Any, **more: Any) -> Any:
        port = re.search(r"--listen-port=(\d+)", " ".join(command))
        if port is not None and command[0] == services.RAYLET_EXECUTABLE:
            command = [*command, f"--{LISTEN}={port[1]}"]
        return start(command, *given, **more)

    monkeypatch.setattr(services, "start_ray_process", started)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_workers_become_fewer_and_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines share the weights; one is lost, the other goes on with all of them; and shares them with a third.

    Every loss is that of one rank at the same place: nothing was trained twice, and nothing was left out.
    """
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    from ray.cluster_utils import Cluster

    squares, out = write_squares(tmp_path / "squares"), tmp_path / "run"
    stage = out / "dvae"
    for name, value in PATIENCE.items():
        monkeypatch.setenv(name, value)
    tell_raylets_the_last_port(monkeypatch)
    cluster = Cluster(
        initialize_head=True, head_node_args=machine() | {"include_dashboard": False, "include_log_monitor": False}
    )
    running: subprocess.Popen[str] | None = None
    seen = list[tuple[int, int]]()  # who had saved what

    def saved_by(ranks: int) -> bool:
        """Whether so many have trained on and saved what they did."""
        before = seen[-1][1] if seen else 0
        if not states.exists(stage):
            return False
        there = len(saves_of(stage)) and SavedState(stage).path.parent.name == FOLDER
        images = states.read_progress(stage).images
        if (2 if there else 1) != ranks or images < before + 4 * STEP:
            return False
        seen.append((ranks, images))
        return True

    try:
        second = cluster.add_node(**machine())
        command = [sys.executable, "-c", QUICK, *words(squares, out, 10**6, "plans.dvae.shard=true")]
        running = subprocess.Popen(
            [*command, "--engine", "ray", "--workers", "1-2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"RAY_ADDRESS": cluster.address},
        )
        waited(running, lambda: saved_by(2))
        cluster.remove_node(second, allow_graceful=False)
        waited(running, lambda: saved_by(1))
        cluster.add_node(**machine())
        waited(running, lambda: saved_by(2))
    finally:
        if running is not None:
            running.kill()
            running.communicate()
        cluster.shutdown()
    assert [ranks for ranks, _ in seen] == [2, 1, 2]
    check_as_one_rank(squares, out, tmp_path / "one")

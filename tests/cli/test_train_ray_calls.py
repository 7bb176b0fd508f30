"""What `pinxit train --engine ray` asks of Ray, and what each worker does, with stand-ins for Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import typer

import pinxit.cli
from pinxit import cluster
from pinxit.cli.train import by_ray as module
from pinxit.cli.train.by_ray import OutcomeRecorder, run_worker, train_by_ray
from pinxit.errors import PinxitError, UsageError
from pinxit.recipes.clip.presets import preset

CONFIG = preset("nano")  # whose batch one or two workers can share out, and four, and eight


class Held(SimpleNamespace):
    """What it is made with, by name."""

    def __init__(self, *others: Any, **named: Any) -> None:
        super().__init__(others=others, **named)


class Actor:
    """An actor whose methods are called at once, in this process."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.of, name))


class Ray(ModuleType):
    """Notes how the actor is made and what the trainer is made with."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.kept, self.options, self.shows = OutcomeRecorder(), dict[str, Any](), list[bool]()
        self.trainer: Any = None
        self.trained: Any = lambda kept: kept.end(None, "there\n")
        self.util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.7")

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "this machine")

    def get(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Any:
        self.options = options
        return lambda kind: SimpleNamespace(remote=lambda: Actor(self.kept))


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    fake = Ray()

    class Trainer(Held):
        def fit(self) -> None:
            fake.trainer = self
            fake.trained(fake.kept)

    there: dict[str, Any] = {
        "train": dict.fromkeys(("FailureConfig", "RunConfig", "ScalingConfig"), Held),
        "train.collective": {"broadcast_from_rank_zero": lambda value: value},
        "train.v2": {},
        "train.v2.api": {},
        "train.v2.api.data_parallel_trainer": {"DataParallelTrainer": Trainer},
        "util.scheduling_strategies": {"NodeAffinitySchedulingStrategy": Held},
    }
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
    for name, held in there.items():
        one = ModuleType(f"ray.{name}")
        vars(one).update(held)
        monkeypatch.setitem(sys.modules, f"ray.{name}", one)

    @contextmanager
    def joined(shows: bool = False) -> Iterator[Ray]:
        fake.shows.append(shows)
        yield fake

    monkeypatch.setattr(cluster, "connected", joined)
    return fake


@pytest.mark.parametrize(
    ("there", "workers", "number", "sizes", "share"),
    [
        ((3, 12, 0), (0, 0), 3, [3], {"CPU": 4.0}),  # one a machine
        ((1, 12, 4), (0, 0), 4, [4], {"CPU": 1.0, "GPU": 1.0}),  # one a GPU
        ((1, 2, 0), (8, 8), 8, [8], {"CPU": 1.0}),
        ((2, 9, 0), (2, 4), (2, 4), [1, 2, 4], {"CPU": 2.0}),
    ],
)
def test_what_ray_is_asked_for(
    ray: Ray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    there: tuple[int, int, int],
    workers: tuple[int, int],
    number: Any,
    sizes: list[int],
    share: dict[str, float],
) -> None:
    monkeypatch.setattr(cluster, "resources", lambda found: there)
    notes = tmp_path / "run" / ".ray"
    notes.mkdir(parents=True)
    train_by_ray(["train", "clip"], *workers, CONFIG, notes, quiet=bool(there[2]))
    assert capsys.readouterr().out == "there\n" and not notes.exists()
    beside = ray.options["scheduling_strategy"]
    assert ray.options["num_cpus"] == 0 and (beside.others, beside.soft) == (("this machine",), False)
    assert ray.shows == [not there[2]], "the log of a quiet training"
    trainer, (does,) = ray.trainer, ray.trainer.others
    given: Mapping[str, Any] = trainer.train_loop_config
    assert does is run_worker and given["command"] == ["train", "clip"] and given["run"] == str(tmp_path / "run")
    assert (given["here"], given["threads"]) == (str(Path.cwd()), torch.get_num_threads())
    assert given["sizes"] == sizes and given["gpus"] is bool(there[2]) is trainer.scaling_config.use_gpu
    assert trainer.scaling_config.num_workers == number and trainer.scaling_config.resources_per_worker == share
    assert trainer.scaling_config.elastic_resize_monitor_interval_s == module.LOOK
    run = trainer.run_config
    assert (
        run.storage_path == str(notes) and run.failure_config.max_failures == module.MOST_LOST and len(run.name) == 32
    )


@pytest.mark.parametrize("falls", [False, True])
def test_what_a_worker_refused_is_raised(
    ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, falls: bool
) -> None:
    """Whether Ray takes it for a failure or not; what Ray itself says counts where no worker said anything."""
    monkeypatch.setattr(cluster, "resources", lambda found: (1, 2, 0))

    def refuse(kept: OutcomeRecorder) -> None:
        kept.end(UsageError("a batch of 7"), "")
        if falls:
            raise RuntimeError("a worker failed")

    ray.trained = refuse
    with pytest.raises(UsageError, match="a batch of 7"):
        train_by_ray([], 2, 2, CONFIG, tmp_path / "notes", quiet=True)

    def lose(kept: OutcomeRecorder) -> None:
        raise RuntimeError("the cluster is gone")

    ray.kept, ray.trained = OutcomeRecorder(), lose
    with pytest.raises(PinxitError, match="a process of the Ray cluster failed: the cluster is gone"):
        train_by_ray([], 2, 2, CONFIG, tmp_path / "notes", quiet=True)


PLACE = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK")


@pytest.mark.parametrize(
    ("rank", "world", "gpus", "place"),
    [
        (0, 2, False, ("0", "2", "10.0.0.7", "5")),
        (1, 3, False, ("1", "2", "10.0.0.7", "5")),  # of three two can share out the batch
        (2, 3, False, None),
        (3, 4, True, ("3", "4", "10.0.0.7", "0")),  # where a worker sees only its own GPU
    ],
)
def test_a_worker_is_a_rank(
    ray: Ray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    world: int,
    gpus: bool,
    place: tuple[str, ...] | None,
) -> None:
    context = SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: world, get_local_rank=lambda: 5)
    monkeypatch.setattr(sys.modules["ray.train"], "get_context", lambda: context, raising=False)
    for name in (*PLACE, "MASTER_PORT"):
        monkeypatch.setenv(name, "-")
    monkeypatch.chdir(tmp_path)
    asked: list[Any] = []

    def app(command: list[str], standalone_mode: bool) -> None:
        asked.append((command, standalone_mode, *map(os.environ.get, PLACE)))
        print("the checkpoint")
        raise typer.Exit(0)

    monkeypatch.setattr(pinxit.cli, "app", app)
    config = {"kept": Actor(ray.kept), "run": str(tmp_path), "sizes": [1, 2, 4], "gpus": gpus, "command": ["train"]}
    run_worker(config | {"here": str(tmp_path), "threads": torch.get_num_threads()})
    assert asked == ([] if place is None else [(["train"], False, *place)])
    assert ray.kept.outcome() == (None, "the checkpoint\n" if rank == 0 else "")
    assert (ray.kept.tries, ray.kept.saved) == ((1, 0.0) if rank == 0 else (0, -1.0)), "which only one begins"
    if place is None:
        return
    ray.kept.end(UsageError("another's"), "")
    run_worker(config | {"here": str(tmp_path), "threads": torch.get_num_threads()})
    assert len(asked) == 1, "where one refused the command nobody tries again"


def test_a_worker_tells_what_ended_it(ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1, get_local_rank=lambda: 0)
    monkeypatch.setattr(sys.modules["ray.train"], "get_context", lambda: context, raising=False)
    for name in (*PLACE, "MASTER_PORT"):
        monkeypatch.setenv(name, "-")
    monkeypatch.chdir(tmp_path)
    config = {"kept": Actor(ray.kept), "run": str(tmp_path), "sizes": [1], "gpus": False, "command": ["train"]}
    config |= {"here": str(tmp_path), "threads": torch.get_num_threads()}

    def failing(error: Exception) -> Any:
        def app(command: list[str], standalone_mode: bool) -> None:
            raise error

        return app

    monkeypatch.setattr(pinxit.cli, "app", failing(RuntimeError("out \n of memory " + "x" * 300)))
    with pytest.raises(RuntimeError, match="out"):
        run_worker(config)
    assert ray.kept.outcome() == (None, "") and ray.kept.lost == f"RuntimeError: out of memory {'x' * 186}"
    monkeypatch.setattr(pinxit.cli, "app", failing(UsageError("no such preset")))
    with pytest.raises(UsageError):
        run_worker(config)
    assert str(ray.kept.outcome()[0]) == "no such preset"

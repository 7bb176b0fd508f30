"""`pinxit train ... --engine ray`: the same command on every worker that Ray Train starts, as torchrun would start it.

All state is in the run folder, which all machines see. So when a worker is lost, the whole group is restarted and
resumes from there, with as many workers as there are then. Ray itself stores nothing.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from pinxit import cluster
from pinxit.cli.console import print_lines
from pinxit.cli.options import EngineChoice
from pinxit.errors import PinxitError, UsageError

Workers = Annotated[
    str | None,
    typer.Option(
        help="With --engine ray: how many processes train: 8, or 2-8 for as many as the cluster has at the time.",
        show_default="one per GPU, else one per machine",
    ),
]
NOTES = ".ray"  # where Ray writes in the run folder during training
MOST_LOST = 1000  # restarts of a command
MOST_IN_PLACE = 5  # restarts in a row without any progress saved
LOOK = 60.0  # seconds between two checks for room for more workers


def by_ray(engine: EngineChoice, workers: str | None, out: Path, config: Any, quiet: bool = False) -> bool:
    """Train by Ray if `engine` says so; returns whether it does. `config`: of the run, with its plans.

    Raises UsageError for invalid `workers` and if Ray is not installed, and the error that ended a worker.
    """
    if engine is not EngineChoice.ray:
        if workers is not None:
            raise UsageError(f"--workers {workers} is for --engine ray: torchrun --nproc-per-node says it otherwise.")
        return False
    least, most = _range(workers)
    cluster.check_installed()
    train_by_ray(arguments(sys.argv[1:]), least, most, config, out.absolute() / NOTES, quiet)
    return True


def arguments(given: Sequence[str]) -> list[str]:
    """A command line without --engine and --workers."""
    kept, skipping = [], False
    for word in given:
        if skipping:
            skipping = False
        elif word in ("--engine", "--workers"):
            skipping = True
        elif not word.startswith(("--engine=", "--workers=")):
            kept.append(word)
    return kept


def _range(workers: str | None) -> tuple[int, int]:
    """The least and the greatest number of workers; (0, 0) for what the cluster has."""
    if workers is None:
        return 0, 0
    first, dash, last = workers.partition("-")
    if first.isdecimal() and (last.isdecimal() if dash else not last):
        least, most = int(first), int(last or first)
        if 1 <= least <= most:
            return least, most
    raise UsageError(f"--workers {workers}: write a number of processes, such as 8, or a range, such as 2-8.")


def worker_range(least: int, most: int, there: int) -> tuple[int, int]:
    """The least and the greatest number of workers, with 0 replaced by `there`, the number of GPUs or machines."""
    most = most or there
    return least or most, most


def train_by_ray(command: Sequence[str], least: int, most: int, config: Any, notes: Path, quiet: bool) -> None:
    """Run `command` on that many workers until it is done, and print what rank 0 prints."""
    import torch

    with cluster.connected(shows=not quiet) as ray:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        machines, processors, gpus = cluster.resources(ray)
        least, most = worker_range(least, most, gpus or machines)
        beside = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        kept = ray.remote(num_cpus=0, scheduling_strategy=beside)(
            OutcomeRecorder
        ).remote()  # other machines may be lost
        given = {"command": list(command), "here": str(Path.cwd()), "threads": torch.get_num_threads(), "kept": kept}
        given |= {"run": str(notes.parent), "sizes": usable_worker_counts(config, most) if least < most else [most]}
        share = {"CPU": 1.0, "GPU": 1.0} if gpus else {"CPU": float(max(1, processors // most))}
        trainer = DataParallelTrainer(
            run_worker,
            train_loop_config=given | {"gpus": bool(gpus)},
            scaling_config=ScalingConfig(
                num_workers=(least, most) if least < most else most,
                use_gpu=bool(gpus),
                resources_per_worker=share,
                elastic_resize_monitor_interval_s=LOOK,
            ),
            run_config=RunConfig(
                name=uuid.uuid4().hex,
                storage_path=str(notes),
                failure_config=FailureConfig(max_failures=MOST_LOST),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise ray.get(kept.outcome.remote())[0] or cluster.cause_of(error) from error
        finally:
            shutil.rmtree(notes, ignore_errors=True)
        refused, said = ray.get(kept.outcome.remote())
    if refused is not None:
        raise refused
    if said:
        print_lines(*said.splitlines())


class OutcomeRecorder:
    """An actor on the machine of the command that outlives the workers, and records how they ended."""

    def __init__(self) -> None:
        self.error: PinxitError | None = None
        self.said, self.saved, self.tries, self.lost = "", -1.0, 0, "it was killed"

    def begin(self, saved: float) -> None:
        """A group of workers begins; `saved`: when the run folder was last written."""
        self.tries = self.tries + 1 if saved == self.saved else 1
        self.saved = saved
        if self.tries > MOST_IN_PLACE:
            why = f"{MOST_IN_PLACE} groups of workers in a row were lost before they had saved anything"
            self.error = self.error or PinxitError(f"{why}; of the last one: {self.lost}.")

    def end(self, error: PinxitError | None, said: str) -> None:
        """Record a worker's own error, which would occur again after a restart; or what it printed."""
        self.error, self.said = self.error or error, self.said + said

    def lose(self, why: str) -> None:
        """Record an error that may be the consequence of another worker's death."""
        self.lost = why

    def outcome(self) -> tuple[PinxitError | None, str]:
        """The recorded error, and what was printed."""
        return self.error, self.said


def run_worker(config: Mapping[str, Any]) -> None:
    """The work of one worker: join the others as torchrun's processes do, and run the command."""
    import ray
    import torch
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero

    from pinxit.training.saved_state import last_saved

    app = import_module("pinxit.cli").app  # imported here, as it imports this module itself
    context, kept = get_context(), config["kept"]
    rank, world = context.get_world_rank(), context.get_world_size()
    if rank == 0:
        ray.get(kept.begin.remote(last_saved(Path(config["run"]))))
    address, port = broadcast_from_rank_zero((ray.util.get_node_ip_address(), _free_port()))
    world = max(size for size in config["sizes"] if size <= world)
    if rank >= world or ray.get(kept.outcome.remote())[0] is not None:
        return
    place = {"RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": address, "MASTER_PORT": port}
    place |= {"LOCAL_RANK": 0 if config["gpus"] else context.get_local_rank()}  # a worker sees only its own GPU
    os.environ.update({name: str(value) for name, value in place.items()})
    os.chdir(config["here"])
    torch.set_num_threads(config["threads"])
    printed = io.StringIO()
    try:
        with redirect_stdout(printed), suppress(typer.Exit):
            app(config["command"], standalone_mode=False)
    except PinxitError as error:
        ray.get(kept.end.remote(error, ""))
        raise
    except Exception as error:
        ray.get(kept.lose.remote(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))
        raise
    if rank == 0:
        ray.get(kept.end.remote(None, printed.getvalue()))


def usable_worker_counts(config: Any, most: int) -> list[int]:
    """How many workers, of so many at most, can share out the batch of every plan inside a config."""
    from pinxit.training.parallel import rows_together
    from pinxit.training.plan import plans_in

    def share(count: int) -> bool:
        with suppress(UsageError):
            return all(rows_together(plan, count) for plan in plans_in(config) if plan.images)
        return False

    return [count for count in range(1, most + 1) if share(count)]


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("", 0))
        return int(asked.getsockname()[1])

"""The Ray cluster that `--engine ray` works on, and a clear error where Ray is not installed.

RAY_ADDRESS names a running cluster (`auto`: the one of this machine); without it a local one is started, and shut down
in the end. ray is imported only when it is needed.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO, cast

from pinxit.errors import PinxitError, UsageError, install

OBJECTS = 128 * 2**20  # bytes of a local cluster's object store: little passes between processes
REFUSED = "refused"  # the column of a row with the sentence why it was not done, or ""
TRIES = 2  # to start one: Ray gives up after 30 s, and processes it has started by then live until the command ends
PATIENCE = {  # Ray's settings of how long it waits for its processes, which a busy machine is slow to start
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}
TURNS = 4  # batches per process, if there are enough rows


def check_installed() -> None:
    """Raise UsageError where Ray is not installed."""
    if find_spec("ray") is None:
        raise UsageError(f"--engine ray needs Ray: {install('ray')}.")


@contextmanager
def connected(shows: bool = False) -> Iterator[Any]:
    """Connect this process to a cluster during the block; yields the module `ray`.

    `shows`: forward the output of the cluster's processes to stderr here. Raises UsageError where Ray is not installed,
    PinxitError where no cluster can be joined.
    """
    check_installed()
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", **PATIENCE}.items():  # no usage reports to Ray's makers
        os.environ.setdefault(name, value)
    import ray

    _join(ray, {"log_to_driver": shows, "logging_level": logging.ERROR})
    try:
        with redirect_stdout(cast("TextIO", _SingleThreadStream(sys.stdout))):
            yield ray
    finally:
        with redirect_stdout(sys.stderr):  # messages that Ray has kept back to see whether they are repeated
            ray.shutdown()


def _join(ray: Any, how: dict[str, Any]) -> None:
    here = {"address": "local", "object_store_memory": OBJECTS, "include_dashboard": False}
    for tries in range(TRIES):
        try:
            ray.init(**how, **({} if os.environ.get("RAY_ADDRESS") else here))
            return
        except Exception as error:  # Ray raises bare Exceptions
            ray.shutdown()
            if tries == TRIES - 1 or os.environ.get("RAY_ADDRESS"):
                raise PinxitError(f"no Ray cluster can be joined: {' '.join(str(error).split())}") from error


class _SingleThreadStream:
    """A stream for the thread that makes it; what other threads write, as Ray's do on stdout, goes to stderr."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        """Write it."""
        return (self.stream if threading.get_ident() == self.thread else sys.stderr).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def quiet_data() -> Any:
    """The module `ray.data`, with its progress bars and log turned off."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray.data


def resources(ray: Any) -> tuple[int, int, int]:
    """How many machines, processors and GPUs the cluster has."""
    found = ray.cluster_resources()
    alive = sum(bool(node["Alive"]) for node in ray.nodes())
    return alive, int(found.get("CPU", 1)), int(found.get("GPU", 0))


def map_rows(
    worker: type, about: Mapping[str, Any], rows: Sequence[Mapping[str, str]], workers: int | None, most: int = 1
) -> Iterator[Mapping[str, Any]]:
    """The rows as `worker(about)` returns them, from processes that Ray Data keeps alive, in any order.

    There are `workers` processes (None: one per GPU, else one per machine), and one that dies is replaced. Each gets
    batches of at most `most` rows: `worker.__call__` takes and returns dicts of columns, one of them REFUSED. Raises
    PinxitError for the first row that is refused, and where a process fails.
    """
    if not rows:
        return
    with connected() as ray:
        machines, processors, gpus = resources(ray)
        processes = workers or gpus or machines
        data = quiet_data()
        blocks = -(-len(rows) // rows_per_batch(len(rows), processes, most))
        done = data.from_items([dict(row) for row in rows], override_num_blocks=blocks).map_batches(
            worker,
            fn_constructor_kwargs={"about": dict(about) | _surroundings()},
            batch_size=None,
            compute=data.ActorPoolStrategy(size=processes),
            num_cpus=max(1, processors // processes) if not gpus else 1,
            num_gpus=1 if gpus else 0,
        )
        try:
            for row in done.iter_rows():
                if row[REFUSED]:
                    raise PinxitError(row[REFUSED])
                yield row
        except ray.exceptions.RayError as error:
            raise cause_of(error) from error


def rows_per_batch(rows: int, processes: int, most: int) -> int:
    """Rows per batch: few enough that every process gets some, and that the last batch does not take long."""
    return max(1, min(most, rows // (TURNS * processes)))


def _surroundings() -> dict[str, Any]:
    import torch

    return {"here": str(Path.cwd()), "threads": torch.get_num_threads()}


def set_up_worker(about: Mapping[str, Any]) -> None:
    """Make a worker of `map_rows` work in the command's folder and with as many threads as the command itself.

    Results depend on the number of threads, because tile sizes on a CPU do.
    """
    import torch

    os.chdir(about["here"])
    torch.set_num_threads(about["threads"])


def cause_of(error: BaseException) -> PinxitError:
    """The cause of a Ray error: the PinxitError in its chain of causes, or one with the last line of the message."""
    at: BaseException | None = error
    last = error
    while at is not None:
        if isinstance(at, PinxitError):
            return at
        last, at = at, getattr(at, "cause", None) or at.__cause__
    line = next(iter(str(last).strip().splitlines()[-1:]), type(last).__name__)
    return PinxitError(f"a process of the Ray cluster failed: {line}")

"""Peak memory of ranks that start a sharded run: `python benchmarks/start.py dalle/tiny transformer --ranks 2`.

Each rank builds the network of that stage, once whole and once by rows (`training.initial`), shards it and saves the
initial state; nothing is trained. Prints how much each of them needed beyond what it had imported; the last line is
JSON. `--set` changes the preset.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import distributed, multiprocessing

from pinxit.recipes.gpu_estimate import stages_of
from pinxit.training.initial import in_shards
from pinxit.training.loop import fit
from pinxit.training.parallel import join_ranks


def peak() -> float:
    """The peak memory of this process in MiB, on Linux; getrusage's is at least what its parent had at its start."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10


def started(rank: int, asked: argparse.Namespace, by_rows: bool, place: Path) -> None:
    """Start a run as one of the ranks, and write down the MiB that this took, and the parameters."""
    import torch._dynamo
    import torch.distributed.fsdp

    torch.set_num_threads(1)
    meet = f"file://{place}/meet"
    distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=asked.ranks)
    (stage,) = (one for one in stages_of(asked.preset, asked.changes) if one.name == asked.stage)
    before = peak()
    with in_shards(join_ranks(), by_rows):
        task = stage.build()
    count = sum(parameter.numel() for module in task.modules().values() for parameter in module.parameters())
    fit(task, replace(stage.plan, shard=True), place / "run", "cpu", progress=False, stop_after=0)
    (place / f"{rank}.json").write_text(json.dumps([peak() - before, count]))
    distributed.destroy_process_group()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("stage")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    asked = parser.parse_args(arguments)
    taken = {}
    for by_rows in (False, True):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            start: Any = multiprocessing.start_processes  # type: ignore[attr-defined]
            start(started, (asked, by_rows, place), asked.ranks, start_method="spawn")
            found = [json.loads((place / f"{rank}.json").read_text()) for rank in range(asked.ranks)]
        how, weights = "by rows" if by_rows else "whole", found[0][1] * 4 / 2**20
        taken[how] = max(mib for mib, _ in found)
        print(f"built {how}: {taken[how]:.0f} MiB a rank; the weights are {weights:.0f} MiB", flush=True)
    print(json.dumps({"ranks": asked.ranks, "weights": weights, "peak": taken}))


if __name__ == "__main__":
    main()

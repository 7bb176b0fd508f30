"""Painting by a shipped checkpoint: one candidate, sixteen, many prompts, and all of it beside busy processes.

    git worktree add ../before COMMIT
    python benchmarks/paint.py --before ../before/src

Every contender is a process of its own that has loaded the checkpoint and painted once; rounds alternate between them,
and medians count. `one_of_sixteen`: time of one candidate over time of sixteen. `sixteen_speedup`, `many_speedup`: the
time of the package at --before over ours, of sixteen candidates and of --prompts prompts with one candidate each.
`busy_ratio`: the time of sixteen beside --busy processes that compute without end, over the quiet time. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pinxit

PROMPTS = ("two yellow stars and a blue cube", "a red car on a beach", "three green triangles", "a cat and a dog")
ENDLESS = "while True: sum(range(10000))"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="the src folder of an earlier version, to be compared with")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--busy", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def serve(checkpoint: str) -> None:
    """A contender: reads what to paint, a line each, and answers with the seconds that it took."""
    painter = pinxit.load(checkpoint, device="cpu")
    for line in sys.stdin:
        count, candidates = json.loads(line)
        asked = [(PROMPTS[k % len(PROMPTS)], k) for k in range(count)]
        start = time.perf_counter()
        if hasattr(painter, "paint_each"):
            painter.paint_many(asked, candidates=candidates)
        else:  # prompts came one after the other
            for prompt, seed in asked:
                painter.paint(prompt, candidates=candidates, seed=seed)
        print(time.perf_counter() - start, flush=True)


class Contender:
    """A process that paints by the package in `source`."""

    def __init__(self, source: Path, checkpoint: str) -> None:
        command = [sys.executable, __file__, "--child", "--checkpoint", checkpoint]
        about: dict[str, Any] = {"env": os.environ | {"PYTHONPATH": str(source)}, "text": True}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **about)
        self.seconds(1, 1)

    def seconds(self, prompts: int, candidates: int) -> float:
        """What so many prompts take."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([prompts, candidates]), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that compute without end."""
    others = [subprocess.Popen([sys.executable, "-c", ENDLESS]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def rounds(contenders: list[Contender], count: int, prompts: int, candidates: int) -> list[float]:
    """The median seconds of each, in turns."""
    taken = [[one.seconds(prompts, candidates) for one in contenders] for _ in range(count)]
    return [statistics.median(times) for times in zip(*taken, strict=True)]


def measure(args: argparse.Namespace, contenders: list[Contender]) -> dict[str, float]:
    """Seconds and ratios."""
    one, *one_before = rounds(contenders, args.rounds, 1, 1)
    sixteen, *before = rounds(contenders, args.rounds, 1, 16)
    many, *many_before = rounds(contenders, 1, args.prompts, 1)
    with busy(args.busy):
        (beside,) = rounds(contenders[:1], args.rounds, 1, 16)
    found = {"one_s": one, "sixteen_s": sixteen, "many_s": many, "sixteen_beside_busy_s": beside}
    found |= {"one_of_sixteen": one / sixteen, "candidates_per_s": 16 / sixteen, "busy_ratio": beside / sixteen}
    if before:
        found |= {"one_before_s": one_before[0], "sixteen_before_s": before[0], "many_before_s": many_before[0]}
        found |= {"sixteen_speedup": before[0] / sixteen, "many_speedup": many_before[0] / many}
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Measure, print a small table, then one line of JSON."""
    args = arguments()
    if args.child:
        serve(args.checkpoint)
        return
    sources = [Path(pinxit.__file__).parents[1], *([args.before.resolve()] if args.before else [])]
    with ExitStack() as stack:
        result = measure(args, [stack.enter_context(Contender(source, args.checkpoint)) for source in sources])
    for name, value in result.items():
        print(f"  {name:24}{value:>12}")
    about = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    print(json.dumps(about | {"cores": len(os.sched_getaffinity(0))} | result))


if __name__ == "__main__":
    main()

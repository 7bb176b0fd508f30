"""The log of a run: metrics.jsonl for programs, a progress bar or plain lines for people."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, TypedDict, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from pinxit.errors import DataError, PinxitError
from pinxit.files import parse_json, write_text
from pinxit.schema import Whole

T = TypeVar("T")
METRICS = "metrics.jsonl"
QUIET = 10.0  # seconds between plain lines, if there is no terminal for a bar
NOTABLE = 0.1  # share of the time spent waiting for batches, from which on the screen tells it


class Meter:
    """Means of named numbers between two log lines; tensors stay on their device until read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.count = 0
        self.waited = 0.0  # seconds, for what `timing` gave

    def timing(self, batches: Iterator[T]) -> Iterator[T]:
        """The same batches, noting how long they were waited for."""
        began = time.perf_counter()
        for batch in batches:
            self.waited += time.perf_counter() - began
            yield batch
            began = time.perf_counter()

    def add(self, numbers: Mapping[str, Tensor | float]) -> None:
        """Add one batch's numbers."""
        for name, value in numbers.items():
            number = value.detach().float() if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + number
        self.count += 1

    def read(self) -> dict[str, float]:
        """The means since the last call, and reset them."""
        means = {name: float(value) / max(1, self.count) for name, value in self.sums.items()}
        self.sums, self.count, self.waited = {}, 0, 0.0
        return means


class Log:
    """A context manager in which one stage logs: `line` writes metrics.jsonl and shows the same, shorter, on screen."""

    def __init__(self, folder: Path, name: str, total: int, done: int, show: bool = True, keep: bool = True) -> None:
        """`total`: images of the plan; `done`: images already seen.

        Without `keep` nothing is written or shown: this is not rank 0. Lines that an earlier invocation wrote past
        `done` are removed, as their steps will be made again.
        """
        self.path = folder / METRICS
        self.name = name
        self.total = total
        self.show, self.keep = show and keep, keep
        self.bar: Progress | None = None
        self.file: TextIO | None = None
        self.started, self.start_images = time.monotonic(), done
        self.printed = -QUIET
        if keep:
            _drop_lines_past(self.path, done)

    def __enter__(self) -> Log:
        if not self.keep:
            return self
        try:
            self.file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise PinxitError(f"cannot write {self.path}: {error.strerror}.") from error
        if self.show and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"))
            times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"))
            self.bar = Progress(*columns, *times, console=Console(stderr=True))
            self.bar.start()
            self.bar.add_task(self.name, total=self.total, completed=self.start_images, numbers="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar:
            self.bar.stop()
        if self.file:
            with suppress(OSError):  # of a full disk: `line` has raised it already
                self.file.close()

    def say(self, message: str) -> None:
        """Show one sentence."""
        if self.bar:
            self.bar.console.print(f"{self.name}: {message}", highlight=False, markup=False)
        elif self.show:
            print(f"{self.name}: {message}", file=sys.stderr, flush=True)

    def tick(self, images: int) -> None:
        """Move the progress bar."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=min(images, self.total))

    def line(self, images: int, numbers: Mapping[str, float]) -> None:
        """Write one line of metrics. Raises PinxitError if the file cannot be written."""
        if not self.keep:
            return
        assert self.file, "a log is used inside its with block"
        values = {name: _short(value) for name, value in numbers.items()}
        try:
            self.file.write(json.dumps({"stage": self.name, "images": images} | values) + "\n")
            self.file.flush()
        except OSError as error:
            raise PinxitError(f"cannot write {self.path}: {error.strerror}.") from error
        brief = f"loss {numbers['loss']:.4f}, {numbers['pictures_per_s']:.0f} pictures/s"
        if numbers.get("share"):
            brief += f", {numbers['share']:.0%} of the matrix rate"
        if numbers.get("waiting", 0.0) >= NOTABLE:
            brief += f", {numbers['waiting']:.0%} of the time spent waiting for batches"
        if "zero_shot" in numbers:
            brief += f", zero-shot {numbers['zero_shot']:.1%}"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], numbers=brief)
        elif self.show and (images >= self.total or time.monotonic() - self.printed >= QUIET):
            self.printed = time.monotonic()
            self.say(f"{images} of {self.total} images, {brief}, {self._left(images)} left")

    def _left(self, images: int) -> str:
        done = max(1, images - self.start_images)
        return duration((time.monotonic() - self.started) / done * max(0, self.total - images))


def duration(seconds: float) -> str:
    """Readable: "48 s", "12 min", "3.4 h", "16 days", "7 years"."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (72 * 3600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}" if unit == 3600 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days" if seconds < 2 * 365 * 86400 else f"{seconds / (365 * 86400):,.0f} years"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Every line of a run's metrics, oldest first; a line torn by a crash is left out."""
    return [line for line in map(_parse, _lines(folder / METRICS)) if line is not None]


def _drop_lines_past(path: Path, images: int) -> None:
    """Remove the lines of steps after the last save: a run that was killed will make them again."""
    lines = _lines(path)
    kept = [line for line in lines if (parsed := _parse(line)) is not None and parsed["images"] <= images]
    whole = "".join(f"{line}\n" for line in kept)
    if lines and whole != _text(path):  # the last line may lack nothing but its end
        write_text(path, whole)


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


class _Line(TypedDict):
    images: Whole


def _parse(line: str) -> dict[str, Any] | None:
    try:
        return dict(parse_json(line, _Line, METRICS))
    except DataError:
        return None


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None  # JSON has no NaN
    return float(f"{value:.6g}")

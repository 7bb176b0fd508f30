"""Progress bars on stderr, and a preview file while painting. Loads nothing heavy until one is shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.texts import printable

if TYPE_CHECKING:
    from pinxit.recipes.jobs import PaintProgress

PREVIEW_SECONDS = 1.0


@contextmanager
def bar(label: str, total: float | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
    """A progress bar; call what it yields with the number that is done and, if it was not known before, the total.

    Lines that are logged meanwhile are printed above it.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    label = printable(label)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, **_on_stderr()) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done, total=None: shown.update(task, completed=done, total=total)


def _on_stderr() -> dict[str, Any]:
    """Where a bar is shown. In a file it would be an empty line for each prompt."""
    from rich.console import Console

    console = Console(stderr=True)
    return {"console": console, "transient": True, "disable": not console.is_interactive}


@contextmanager
def painting(
    label: str, preview: Path, announced: set[Path] | None = None
) -> Iterator[Callable[[PaintProgress], None]]:
    """A `watch` function for painters: it moves the bar and rewrites `preview`, which is removed at the end.

    The path of `preview` is printed once, as soon as the file exists; `announced`: those that were printed before.
    """
    known = set() if announced is None else announced
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from pinxit.data.sheet import sheet
    from pinxit.pictures import write_png

    columns = (
        TextColumn("{task.description}", markup=False),  # a prompt is no markup
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, **_on_stderr()) as bar:
        label = printable(label)
        task = bar.add_task(label if len(label) <= 60 else label[:59] + "…", total=1.0)
        shown = time.monotonic()

        def watch(painted: PaintProgress) -> None:
            nonlocal shown
            bar.update(task, completed=painted.share)
            if time.monotonic() - shown < PREVIEW_SECONDS:
                return
            pictures = painted.preview()
            if pictures:  # there are none before the first step
                write_png(preview, sheet(pictures))
                shown = time.monotonic()
                if preview not in known:
                    note = f"pinxit: see it grow in {preview}, which goes when it is done."
                    bar.console.print(note, markup=False, highlight=False, soft_wrap=True)
                    known.add(preview)

        try:
            yield watch
        finally:
            with suppress(OSError):
                preview.unlink(missing_ok=True)

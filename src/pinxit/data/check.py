"""Reading a whole dataset once, on all cores, to find broken items before training does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pinxit.data.pool import cores, parallel_map
from pinxit.data.problems import Problem, Problems, read
from pinxit.types import Dataset

SPAN = 32  # items a worker reads at a time


@dataclass(frozen=True)
class CheckResult:
    """The result of a check."""

    usable: int  # items that can be used
    captions: int  # their captions
    problems: Problems


def check(
    dataset: Dataset, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckResult:
    """Read every item of `dataset`; `progress(done, total)` is called now and then."""
    total = len(dataset)
    spans = [range(start, min(start + SPAN, total)) for start in range(0, total, SPAN)]
    problems = Problems(getattr(dataset, "problems", ()))
    captions, broken, done = 0, 0, 0
    results = parallel_map(_read_span, dataset, spans, min(workers or cores(), len(spans)))
    for span, (caption_count, found) in zip(spans, results, strict=True):
        captions += caption_count
        broken += len(found)
        done += len(span)
        problems.extend(found)
        if progress is not None:
            progress(done, total)
    return CheckResult(total - broken, captions, problems)


def _read_span(dataset: Dataset, span: range) -> tuple[int, list[Problem]]:
    """The number of captions of the usable items of `span`, and its broken items."""
    captions = 0
    problems = []
    for index in span:
        item = read(dataset, index)
        if isinstance(item, Problem):
            problems.append(item)
        else:
            captions += len(item.captions)
    return captions, problems

"""`pinxit paint --engine ray`: many prompts by many painters, in processes that Ray Data keeps alive.

A prompt is done when its folder holds a sheet. So the same command resumes where it stopped, and what a process was
painting when it died is painted by another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit import cluster
from pinxit.cli.console import print_json, print_lines
from pinxit.cli.paint_options import warn_about_prompt
from pinxit.cli.paint_output import SHEET, folder_name, is_painted, output_lock, read_results, write_results
from pinxit.cli.painter_choice import PainterChoice
from pinxit.cli.progress import bar
from pinxit.errors import PinxitError
from pinxit.files import check_writable

if TYPE_CHECKING:
    import numpy as np

PIECE = 64  # most prompts of a batch


def paint_by_ray(
    choice: PainterChoice,
    asked: Mapping[str, Any],
    texts: Sequence[str],
    out: Path,
    as_json: bool,
    strict: bool,
    workers: int | None,
) -> None:
    """Paint what `out` does not hold yet, and print for each text, in their order, where its pictures are.

    `asked`: seed, candidates and keep. Raises UsageError before any process starts, PinxitError if one fails.
    """
    cluster.check_installed()
    opened = choice.open()
    facts = opened.painter.facts(opened.facts(asked))
    for text in texts:
        warn_about_prompt(opened.painter, text, strict)
    check_writable(out)
    del opened  # the processes have painters of their own
    folders = {text: out / folder_name(text, facts) for text in texts}
    left = [text for text, folder in folders.items() if not is_painted(folder)]
    about = {"choice": choice, "asked": dict(asked), "out": str(out), "facts": facts}
    painted, coming = set(folders) - set(left), _painted(about, left, workers)
    with bar("painting", len(folders), "prompts") as shown:
        for text in texts:
            while text not in painted:
                painted.add(next(coming))
                shown(len(painted))
            if as_json:
                print_json(read_results(folders[text], text))
            else:
                print_lines(str(folders[text] / SHEET))


def _painted(about: Mapping[str, Any], texts: Sequence[str], workers: int | None) -> Iterator[str]:
    """The texts, each as soon as its folder is complete."""
    for row in cluster.map_rows(PaintingWorker, about, [{"prompt": text} for text in texts], workers, PIECE):
        yield str(row["prompt"])


class PaintingWorker:
    """A painter in a process of the cluster; all machines see the same folder `out`."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        """`about`: what `paint_by_ray` passes, and the surroundings that `cluster.set_up_worker` wants."""
        cluster.set_up_worker(about)
        self.opened = about["choice"].open()
        self.asked, self.facts, self.out = about["asked"], about["facts"], Path(about["out"])

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, list[str]]:
        """Paint the prompts that are not painted yet; returns all of them, each with an error message or ""."""
        prompts, refused = [str(text) for text in batch["prompt"]], ""
        try:
            self._paint(prompts)
        except PinxitError as error:  # Ray would wrap it
            refused = str(error)
        return {"prompt": prompts, cluster.REFUSED: [refused] * len(prompts)}

    def _paint(self, prompts: Sequence[str]) -> None:
        folders = {text: self.out / folder_name(text, self.facts) for text in prompts}
        left = [text for text, folder in folders.items() if not is_painted(folder)]
        how = {name: self.asked[name] for name in ("candidates", "keep")}
        asked = [(text, self.asked["seed"]) for text in left]
        coming = self.opened.painter.paint_each(asked, upsampler=self.opened.enlarger, **how, **self.opened.settings)
        for text, ranked in zip(left, coming, strict=True):
            with output_lock(folders[text]):
                write_results(folders[text], text, ranked, self.facts)

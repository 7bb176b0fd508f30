"""`pinxit paint --engine ray`: many prompts by many whole engines, which Ray Data keeps alive.

A prompt is done when its folder holds a sheet, so the same command goes on where it stopped, and what a process was at
when it died is painted by another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit import cluster
from pinxit.cli.console import print_json, print_lines
from pinxit.cli.paint_options import say_about
from pinxit.cli.paint_output import SHEET, alone_with, folder_name, is_painted, read_results, write_results
from pinxit.cli.painter_choice import PainterChoice
from pinxit.cli.progress import bar
from pinxit.errors import PinxitError
from pinxit.files import check_writable

if TYPE_CHECKING:
    import numpy as np

PIECE = 64  # prompts that a process takes at a time at most; fewer where every process is to have some
TURNS = 4  # that each process has at least, where there are prompts enough


def paint_by_ray(
    choice: PainterChoice,
    asked: Mapping[str, Any],
    texts: Sequence[str],
    out: Path,
    as_json: bool,
    strict: bool,
    workers: int | None,
) -> None:
    """Paint what `out` does not hold yet, and say of each text, in their order, where its pictures are.

    `asked`: seed, candidates and keep. Raises PinxitError for what stops a process, and UsageError before any starts.
    """
    import torch

    cluster.check_installed()
    opened = choice.open()
    facts = opened.painter.facts(opened.facts(asked))
    for text in texts:
        say_about(opened.painter, text, strict)
    check_writable(out)
    del opened  # the processes have painters of their own
    folders = {text: out / folder_name(text, facts) for text in texts}
    left = [text for text, folder in folders.items() if not is_painted(folder)]
    told = {"choice": choice, "asked": dict(asked), "out": str(out), "facts": facts}
    told |= {"here": str(Path.cwd()), "threads": torch.get_num_threads()}
    painted, coming = set(folders) - set(left), _painted(told, left, workers)
    with bar("painting", len(folders), "prompts") as shown:
        for text in texts:
            while text not in painted:
                painted.add(next(coming))
                shown(len(painted))
            if as_json:
                print_json(read_results(folders[text], text))
            else:
                print_lines(str(folders[text] / SHEET))


def _painted(told: Mapping[str, Any], texts: Sequence[str], workers: int | None) -> Iterator[str]:
    """The texts, each when its folder is whole."""
    if not texts:
        return
    with cluster.joined() as ray:
        machines, processors, gpus = cluster.resources(ray)
        engines = workers or gpus or machines
        pieces = -(-len(texts) // at_a_time(len(texts), engines))
        data = cluster.quiet_data().from_items([{"prompt": text} for text in texts], override_num_blocks=pieces)
        painted = data.map_batches(
            Painting,
            fn_constructor_kwargs={"told": told},
            batch_size=None,
            compute=cluster.quiet_data().ActorPoolStrategy(size=engines),
            num_cpus=max(1, processors // engines) if not gpus else 1,
            num_gpus=1 if gpus else 0,
        )
        try:
            for row in painted.iter_rows():
                if row["refused"]:
                    raise PinxitError(row["refused"])
                yield str(row["prompt"])
        except ray.exceptions.RayError as error:
            raise cluster.cause_of(error) from error


def at_a_time(texts: int, engines: int) -> int:
    """How many texts a process takes at once: few enough that each has some, and nobody waits long for the last."""
    return max(1, min(PIECE, texts // (TURNS * engines)))


class Painting:
    """A painter in a process of the cluster, over the same folders: `out` is there for all machines."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """With as many threads as the command's own process, as the tiles of a CPU hang on that."""
        import torch

        os.chdir(told["here"])
        torch.set_num_threads(told["threads"])
        self.opened = told["choice"].open()
        self.asked, self.facts, self.out = told["asked"], told["facts"], Path(told["out"])

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, list[str]]:
        """Paint the prompts that nobody has painted, and give back all; with each, why the rest was not painted."""
        prompts, refused = [str(text) for text in batch["prompt"]], ""
        try:
            self._paint(prompts)
        except PinxitError as error:  # which would not survive the way
            refused = str(error)
        return {"prompt": prompts, "refused": [refused] * len(prompts)}

    def _paint(self, prompts: Sequence[str]) -> None:
        folders = {text: self.out / folder_name(text, self.facts) for text in prompts}
        left = [text for text, folder in folders.items() if not is_painted(folder)]
        how = {name: self.asked[name] for name in ("candidates", "keep")}
        asked = [(text, self.asked["seed"]) for text in left]
        coming = self.opened.painter.paint_each(asked, upsampler=self.opened.enlarger, **how, **self.opened.settings)
        for text, ranked in zip(left, coming, strict=True):
            with alone_with(folders[text]):
                write_results(folders[text], text, ranked, self.facts)

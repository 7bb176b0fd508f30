"""`pinxit paint --engine ray`: many prompts by many painters, in processes that Ray Data keeps alive.

A prompt is done when its folder holds a sheet. So the same command resumes where it stopped, and what a process was
painting when it died is painted by another one.
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

PIECE = 64  # most prompts of a batch; fewer if processes would get less than TURNS batches
TURNS = 4  # batches per process, if there are enough prompts


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
    about = {"choice": choice, "asked": dict(asked), "out": str(out), "facts": facts}
    about |= {"here": str(Path.cwd()), "threads": torch.get_num_threads()}
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
    if not texts:
        return
    with cluster.joined() as ray:
        machines, processors, gpus = cluster.resources(ray)
        engines = workers or gpus or machines
        pieces = -(-len(texts) // at_a_time(len(texts), engines))
        data = cluster.quiet_data().from_items([{"prompt": text} for text in texts], override_num_blocks=pieces)
        painted = data.map_batches(
            Painting,
            fn_constructor_kwargs={"about": about},
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
    """Texts per batch: few enough that every process gets some, and that the last batch does not take long."""
    return max(1, min(PIECE, texts // (TURNS * engines)))


class Painting:
    """A painter in a process of the cluster; all machines see the same folder `out`."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        """With as many threads as the command's own process, because tile sizes on a CPU depend on it."""
        import torch

        os.chdir(about["here"])
        torch.set_num_threads(about["threads"])
        self.opened = about["choice"].open()
        self.asked, self.facts, self.out = about["asked"], about["facts"], Path(about["out"])

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, list[str]]:
        """Paint the prompts that are not painted yet; returns all of them, each with an error message or ""."""
        prompts, refused = [str(text) for text in batch["prompt"]], ""
        try:
            self._paint(prompts)
        except PinxitError as error:  # Ray would wrap it
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

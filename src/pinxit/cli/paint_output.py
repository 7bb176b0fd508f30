"""Paints with a progress bar and a preview, and writes a folder per prompt: a sheet of the pictures, and each alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.cli import progress
from pinxit.cli.console import print_json, print_lines, warn
from pinxit.data.sheet import sheet
from pinxit.files import check_writable
from pinxit.locks import folder_lock
from pinxit.pictures import write_png

if TYPE_CHECKING:
    from pinxit.recipes.jobs import Watch
    from pinxit.recipes.painting import Painter
    from pinxit.types import Ranked

SHEET = "sheet.png"
PICTURE = re.compile(r"\d+-seed\d+-candidate\d+\.png")


def draw_and_write(
    painter: Painter,
    texts: Sequence[str],
    draw: Callable[[Watch], Generator[list[Ranked], None, None]],
    out: Path,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Write a folder for each text as soon as its pictures are drawn, and print its path.

    `draw` yields the pictures of each text, in the order of `texts`.
    """
    facts = painter.facts(settings)
    folders = [out / folder_name(text, facts) for text in texts]
    for folder in folders:
        check_writable(folder)
    now: list[Watch] = []  # the last is the progress bar of the prompt that comes next
    with closing(draw(lambda painted: now[-1](painted))) as coming:
        for text, folder in zip(texts, folders, strict=True):
            with output_lock(folder):
                with progress.painting(text, folder / "preview.png") as watching:
                    now.append(watching)
                    ranked = next(coming)
                paths = write_results(folder, text, ranked, facts)
            if as_json:
                print_json(_as_json(text, ranked, paths))
            else:
                print_lines(str(folder / SHEET))


@contextmanager
def output_lock(folder: Path) -> Iterator[None]:
    """Inside the block no other command paints into `folder`; a second one waits, and says so."""
    notice = f"pinxit: another command paints into {folder}; this one waits until it is done."
    with folder_lock(folder, f"the pictures {folder}", waiting=lambda: warn(notice)):
        yield


def folder_name(prompt: str, settings: Mapping[str, Any]) -> str:
    """A readable name, unique to (prompt, settings): painting the same again replaces files by equal ones.

    `settings` must hold everything that the pictures depend on, or different runs would share a folder.
    """
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:48].rstrip("-") or "picture"
    content = json.dumps([prompt, settings], sort_keys=True, ensure_ascii=False)
    return f"{words}-{hashlib.sha256(content.encode(errors='backslashreplace')).hexdigest()[:8]}"


def is_painted(folder: Path) -> bool:
    """Whether a folder is complete: `write_results` writes the sheet last."""
    return (folder / SHEET).is_file()


def read_results(folder: Path, prompt: str) -> dict[str, Any]:
    """The JSON object of a complete folder, from its pictures' metadata."""
    from pinxit.pictures import read_metadata

    pictures, found = [], (path for path in folder.iterdir() if PICTURE.fullmatch(path.name))
    for path in sorted(found, key=lambda path: int(path.name.partition("-")[0])):  # by name 100 comes before 11
        about = read_metadata(path)
        pictures.append({"path": str(path)} | {name: about[name] for name in ("seed", "candidate", "score")})
    return {"prompt": prompt, "pictures": pictures}


def write_results(folder: Path, prompt: str, ranked: Sequence[Ranked], settings: dict[str, Any]) -> list[Path]:
    """Write every picture of `ranked` (best first) and sheet.png; returns the pictures' paths in the same order.

    Other pictures of ours in `folder` are removed.
    """
    from pinxit.recipes.painting import picture_facts

    paths = []
    for place, item in enumerate(ranked, 1):
        path = folder / f"{place:02d}-seed{item.seed}-candidate{item.candidate}.png"
        write_png(path, item.picture, picture_facts(prompt, item, settings))
        paths.append(path)
    labels = [f"{item.score:.3f}  seed {item.seed}, candidate {item.candidate}" for item in ranked]
    whole = sheet([item.picture for item in ranked], labels, columns=min(4, len(ranked)))
    write_png(folder / SHEET, whole, {"prompt": prompt} | settings)
    remove_but(paths, folder, PICTURE)
    return paths


def remove_but(written: Collection[Path], folder: Path, named: re.Pattern[str]) -> None:
    """Remove older pictures, whose names match `named`: the same command on another device may have ranked others."""
    for path in set(folder.iterdir()).difference(written):
        if named.fullmatch(path.name):
            path.unlink()


def _as_json(prompt: str, ranked: Sequence[Ranked], paths: Sequence[Path]) -> dict[str, Any]:
    """The JSON object that --json prints."""
    pictures = [
        {"path": str(path), "seed": item.seed, "candidate": item.candidate, "score": round(item.score, 6)}
        for path, item in zip(paths, ranked, strict=True)
    ]
    return {"prompt": prompt, "pictures": pictures}

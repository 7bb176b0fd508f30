"""`pinxit paint --compare`: a sentence painted by every installed system, ranked by one CLIP on one sheet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinxit.cli import progress
from pinxit.cli.console import print_json, print_lines
from pinxit.cli.paint_options import warn_about_prompt
from pinxit.cli.painter_settings import resolve_settings
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.painting import Painter
    from pinxit.types import Ranked

PICTURE = re.compile(r"\d+-[a-z]+-seed\d+-candidate\d+\.png")
SETTING = {"agreement": 0.0}  # scores of different systems can only be compared if they are plain cosines


@dataclass(frozen=True)
class System:
    """One painter with its settings."""

    painter: Painter
    upsampler: Upsampler | None
    settings: Mapping[str, Any]

    @property
    def recipe(self) -> str:
        """The name of its recipe."""
        return str(self.painter.provenance["recipe"])

    @property
    def facts(self) -> dict[str, Any]:
        """The metadata about it."""
        enlarged = {} if self.upsampler is None else self.upsampler.facts
        return self.painter.recorded(self.settings) | enlarged | self.painter.provenance


@dataclass(frozen=True)
class Comparison:
    """What all systems are asked to paint."""

    texts: Sequence[str]
    candidates: int
    keep: int
    seed: int


def systems(
    names: Mapping[str, str],
    load: Callable[[str], Painter],
    enlarger: Callable[[Painter], Upsampler | None],
    given: Mapping[str, Any],
) -> list[System]:
    """The painters of `names` (checkpoints by recipe), each with those of the `given` settings that it has.

    Raises UsageError for a setting that none of them has, and for fewer than two systems.
    """
    if len(names) < 2:
        raise UsageError("there is but one system to compare: install another, or name its checkpoint.")
    result, used = [], set[str]()
    for name in names.values():
        painter = load(name)
        upsampler = enlarger(painter)
        has = painter.defaults.keys() | (upsampler.defaults.keys() if upsampler is not None else ())
        mine = {setting: value for setting, value in (SETTING | dict(given)).items() if setting in has}
        used |= mine.keys()
        if upsampler is not None:
            upsampler.tune(mine)
        result.append(System(painter, upsampler, resolve_settings(mine, painter, upsampler)))
    if unused := [setting for setting in given if setting not in used]:
        raise UsageError(f"none of {', '.join(names)} has a setting '{unused[0]}'.")
    return result


def compare(of: Sequence[System], asked: Comparison, out: Path, as_json: bool, strict: bool) -> None:
    """Paint each text by all systems, and write a folder for it: a sheet with a row per system, and each picture."""
    from pinxit.cli.paint_output import folder_name, output_lock
    from pinxit.files import check_writable

    facts = {"compared": [one.facts for one in of], "seed": asked.seed}
    facts |= {"candidates": asked.candidates, "keep": asked.keep}
    folders = [out / folder_name(text, facts) for text in asked.texts]
    for text, folder in zip(asked.texts, folders, strict=True):
        check_writable(folder)
        for one in of:
            warn_about_prompt(one.painter, text, strict)
    announced = set[Path]()
    for text, folder in zip(asked.texts, folders, strict=True):
        with output_lock(folder):
            painted = [(one, _painted(one, text, asked, folder, announced)) for one in of]
            painted.sort(key=lambda pair: -pair[1][0].score)
            written = _write(folder, text, painted, facts)
        if as_json:
            print_json({"prompt": text, "pictures": written})
        else:
            print_lines(str(folder / "sheet.png"))


def _painted(one: System, text: str, asked: Comparison, folder: Path, announced: set[Path]) -> list[Ranked]:
    how = {"candidates": asked.candidates, "keep": asked.keep, "upsampler": one.upsampler} | dict(one.settings)
    with progress.painting(f"{one.recipe}: {text}", folder / "preview.png", announced) as watch:
        coming = one.painter.paint_each([(text, asked.seed)], watch=watch, previews=progress.PREVIEW_SECONDS, **how)
        return next(coming)


def _write(
    folder: Path, text: str, painted: Sequence[tuple[System, list[Ranked]]], facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Write every picture, numbered best first over all systems, and the sheet, with the best system on top."""
    from pinxit.cli.paint_output import remove_but
    from pinxit.data.sheet import sheet
    from pinxit.pictures import write_png

    written = []
    every = sorted(((one, item) for one, some in painted for item in some), key=lambda pair: -pair[1].score)
    for place, (one, item) in enumerate(every, 1):
        path = folder / f"{place:02d}-{one.recipe}-seed{item.seed}-candidate{item.candidate}.png"
        about = {"seed": item.seed, "candidate": item.candidate, "score": round(item.score, 6)}
        write_png(path, item.picture, {"prompt": text} | about | one.facts)
        written.append({"path": str(path), "recipe": one.recipe} | about)
    rows = [item for _, some in painted for item in some]
    labels = [f"{item.score:.3f}  candidate {item.candidate}" for item in rows]
    whole = sheet([item.picture for item in rows], labels, len(painted[0][1]), names=[one.recipe for one, _ in painted])
    write_png(folder / "sheet.png", whole, {"prompt": text} | dict(facts))
    remove_but([Path(str(one["path"])) for one in written], folder, PICTURE)
    return written

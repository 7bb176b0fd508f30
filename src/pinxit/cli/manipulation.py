"""What the verbs that manipulate pictures share: opening a painter that can, reading pictures, writing results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.console import print_json, print_lines
from pinxit.cli.paint import SHIPPED, Recipe
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.jobs import Watch
    from pinxit.recipes.unclip.manipulation import Manipulation
    from pinxit.types import Picture, Ranked

    Labelled = tuple[str, Ranked]

CheckpointOption = Annotated[
    str, typer.Option(help="An unCLIP: a shipped name, the folder of one that you trained, or Karlo's.")
]
DDIM_STEPS = 100
DdimSteps = Annotated[
    int | None,
    typer.Option(
        "--ddim-steps",
        min=1,
        max=1000,
        help="Steps to invert a picture to noise, and as many back.",
        show_default=str(DDIM_STEPS),
    ),
]
Upscale = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Enlarge what is drawn to so many pixels a side; 0: do not.",
        show_default="as large as the checkpoint can",
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the results, which get a folder of their own there.")]
DEFAULT = SHIPPED[Recipe.unclip]
DRAWN = 0.75
"""Of the progress, the part that drawing has where the pictures are enlarged afterwards."""


@dataclass(frozen=True)
class InputPicture:
    """A user's picture."""

    picture: Picture
    facts: dict[str, str]  # for metadata: its name, and the hash of the file

    @classmethod
    def read(cls, path: Path) -> InputPicture:
        """Read any picture as eight-bit RGB, rotated by its EXIF tag, over white. Raises ItemError if it cannot be."""
        from pinxit.data.decode import read_with_digest

        picture, digest = read_with_digest(path)
        return cls(picture, {"of": path.name, "of_sha256": digest})


def steps_of_inversion(given: int | None, where: str = "") -> int:
    """What --ddim-steps says, or its default. Raises UsageError if it is given `where` no picture is inverted."""
    if given is not None and where:
        raise UsageError(f"--ddim-steps changes nothing {where}, as no picture is inverted: leave it out.")
    return DDIM_STEPS if given is None else given


def manipulator(checkpoint: str, device: str) -> Manipulation:
    """The painter. Raises UsageError for one that has no picture embeddings."""
    from typing import cast

    from pinxit.api import load
    from pinxit.recipes.capabilities import Manipulates

    painter = load(checkpoint, device=device)
    if not isinstance(painter, Manipulates):
        raise UsageError(f"{checkpoint} has no picture embeddings: choose a checkpoint of unclip, or Karlo.")
    return cast("Manipulation", painter)


def enlarger(painter: Manipulation, upscale: int | None) -> Upsampler | None:
    """The painter's own upsampler, for `upscale` pixels (None: its largest); None if it has none, or for 0.

    Raises UsageError for a size that it does not make.
    """
    from pinxit.recipes.capabilities import upsampler_of

    own = upsampler_of(painter)
    if own is None and upscale:
        raise UsageError(f"{painter.name} has no upsampler: leave out --upscale.")
    if own is None or upscale == 0:
        return None
    return own if upscale is None else own.for_size(upscale)


def in_a_row(labels: Iterable[str], pictures: Sequence[Picture], seed: int = 0) -> list[Labelled]:
    """Labelled pictures that have no rank; their places are their candidates."""
    from pinxit.types import Ranked

    ranked = [Ranked(picture, seed, place, 0.0) for place, picture in enumerate(pictures)]
    return list(zip(labels, ranked, strict=True))


def draw_strip(
    painter: Manipulation,
    verb: str,
    given: Sequence[InputPicture],
    draw: Callable[[Watch], Sequence[Labelled]],
    facts: dict[str, Any],
    upscale: int | None,
    out: Path,
    as_json: bool,
    columns: int | None = None,
) -> None:
    """Draw with a progress bar, and write each picture, and a sheet of all that begins with the given ones.

    Pictures are enlarged with the noise of their seeds and candidates.
    """
    from pinxit.cli import progress
    from pinxit.cli.paint_output import folder_name, output_lock
    from pinxit.files import check_writable
    from pinxit.recipes.unclip.inversion import sub_progress

    upsampler = enlarger(painter, upscale)
    about = {"made_by": verb, "upscale": 0} | facts | painter.provenance | {"given": [one.facts for one in given]}
    about |= {} if upsampler is None else upsampler.facts
    title = " ".join([verb, *(Path(one.facts["of"]).stem for one in given)])
    folder = out / folder_name(title, about)
    check_writable(folder)
    with output_lock(folder):
        with progress.painting(title, folder / "preview.png") as watch:
            first = DRAWN if upsampler is not None else 1.0
            labels, drawn = zip(*draw(sub_progress(watch, 0.0, first)), strict=True)
            if upsampler is not None:
                drawn = tuple(upsampler.enlarge("", drawn, sub_progress(watch, first, 1.0), progress.PREVIEW_SECONDS))
        paths = _write(folder, given, [one.picture for one in drawn], labels, about, columns)
    if as_json:
        names = [str(path) for path in paths]
        print_json({"sheet": str(folder / "sheet.png"), "pictures": names, "labels": labels})
    else:
        print_lines(str(folder / "sheet.png"))


def _write(
    folder: Path,
    given: Sequence[InputPicture],
    drawn: Sequence[Picture],
    labels: Sequence[str],
    about: dict[str, Any],
    columns: int | None,
) -> list[Path]:
    from pinxit.data.sheet import sheet
    from pinxit.data.transforms import square_crop
    from pinxit.pictures import write_png

    paths, size = [], len(drawn[0])
    for place, (picture, label) in enumerate(zip(drawn, labels, strict=True), 1):
        path = folder / f"{place:02d}.png"
        write_png(path, picture, about | {"label": label})
        paths.append(path)
    shown = [*(square_crop(one.picture, size, "bicubic") for one in given), *drawn]
    captions = [*(one.facts["of"] for one in given), *labels]
    write_png(folder / "sheet.png", sheet(shown, captions, columns or min(len(shown), 9)), about)
    return paths

"""`pinxit data`: preview data, check it, and write it as tar shards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.console import print_lines, warn
from pinxit.cli.data_shards import encode, index
from pinxit.cli.options import LARGEST
from pinxit.cli.progress import bar
from pinxit.files import check_file
from pinxit.texts import counted

if TYPE_CHECKING:
    from pinxit.data.problems import Problems
    from pinxit.types import Dataset, Example

app = typer.Typer(no_args_is_help=True, help="Look at training data, check it, and write it as tar shards.")

WORLD_COUNT = 100_000

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="world:small, :gallery or :full (the built-in world), a folder of pictures with same-named .txt captions, "
        'a .tar file, a folder of tars, or a pattern such as "data/{00000..00007}.tar".',
        show_default=False,
    ),
]
Size = Annotated[
    int, typer.Option(help="Side of the pictures in pixels: the shorter side is resized, the rest cropped.")
]
Split = Annotated[
    str, typer.Option(help="World only: train, seen (known combinations) or unseen (never met in train).")
]
Language = Annotated[str | None, typer.Option(help="World only: language of the captions: en, zh or mixed.")]
Names = Annotated[
    str | None, typer.Option(help="World only: what its things are called: usual, or many (a cat, a kitten, a tabby).")
]
Seed = Annotated[
    int,
    typer.Option(min=0, max=LARGEST, help="Other seeds give other scenes of a world, other items of your own data."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes to use.", show_default="every core")]


@app.command()
def preview(
    source: Source,
    count: Annotated[int, typer.Option(min=1, help="How many pictures to show.")] = 24,
    split: Split = "train",
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("sheet.png"),
    size: Size = 64,
    language: Language = None,
    names: Names = None,
    seed: Seed = 0,
    captions: Annotated[int, typer.Option(min=1, help="How many captions to print under each picture.")] = 1,
    columns: Annotated[int | None, typer.Option(min=1, help="Pictures per row.", show_default="to fit")] = None,
) -> None:
    """Draw a contact sheet: pictures with their captions underneath.

    Look at your data before you train on it, for example: pinxit data preview world:small --split unseen
    """
    from pinxit.data.problems import Problems
    from pinxit.data.sheet import sheet
    from pinxit.errors import DataError
    from pinxit.pictures import check_picture, write_picture

    check_file(out)
    check_picture(out)
    dataset = _open(source, size, split, {"language": language, "names": names}, seed)
    problems = Problems(getattr(dataset, "problems", ()))
    shown = _pick(dataset, source, count, seed, problems)
    _tell(problems)
    if not shown:
        raise DataError(f"{source} has no picture that can be shown.")
    texts = ["\n".join(example.captions[:captions]) for example in shown]
    write_picture(
        out, sheet([example.picture for example in shown], texts, columns), {"source": source, "captions": texts}
    )
    _warn_of_missing_font(texts)
    print_lines(str(out))


@app.command()
def build(
    source: Source,
    out: Annotated[Path, typer.Option(help="The folder to write 00000.tar, 00001.tar, ... into.", show_default=False)],
    count: Annotated[
        int | None,
        typer.Option(min=1, help="How many items to write.", show_default=f"all; {WORLD_COUNT} of a world"),
    ] = None,
    per_shard: Annotated[int, typer.Option(min=1, help="Items in one tar.")] = 10_000,
    size: Size = 64,
    format: Annotated[str, typer.Option(help="png or webp, both without loss; webp is smaller and slower.")] = "png",
    split: Split = "train",
    language: Language = None,
    names: Names = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="World only: other seeds give other scenes.")] = 0,
    workers: Workers = None,
) -> None:
    """Write SOURCE as tar shards that any webdataset reader understands (key.png, key.txt, key.json).

    Uses every core. A killed run goes on where it stopped when the same command is given again.
    """
    from pinxit.data.shard_writer import FORMS, write_shards
    from pinxit.errors import UsageError

    form = next((known for known in FORMS if known == format), None)
    if form is None:
        raise UsageError(f"--format is png or webp, not {format}.")
    if seed and not _is_world(source):
        raise UsageError("--seed changes nothing for your own data, which are written in their order: leave it out.")
    dataset = _open(source, size, split, {"language": language, "names": names}, seed)
    if count is None and _is_world(source):
        count = WORLD_COUNT
    with bar("writing shards") as progress:
        written = write_shards(dataset, out, count, per_shard, form, workers, progress)
    print_lines(f"{counted(written.items, 'item')} in {counted(written.shards, 'shard')} in {out}")


@app.command()
def check(
    source: Annotated[
        str, typer.Argument(metavar="PATH", help="A folder of pictures, tar shards, or a pattern of them.")
    ],
    workers: Workers = None,
    all: Annotated[bool, typer.Option("--all", help="Name every broken file instead of the first ten.")] = False,
) -> None:
    """Read every picture and caption once and report what is broken: truncated, no picture, no caption, not UTF-8, ...

    Training skips the same files. Exits with 0 if none is broken, else with 1.
    """
    from pinxit.data.check import check as check_dataset
    from pinxit.errors import UsageError

    if _is_world(source):
        raise UsageError("the built-in world has nothing to check; give a folder or tar shards.")
    dataset = _open(source, 64, "train", {}, 0)
    with bar("reading") as progress:
        report = check_dataset(dataset, workers, progress)
    print_lines(f"{counted(report.usable, 'picture')} with {counted(report.captions, 'caption')} can be used")
    _tell(report.problems, named=len(report.problems) if all else None)
    if report.problems:
        raise typer.Exit(1)


app.command()(encode)
app.command()(index)


def _open(source: str, size: int, split: str, asked: dict[str, str | None], seed: int) -> Dataset:
    from pinxit.data.sources import open_source

    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if _is_world(source):
        options["seed"] = seed
    return open_source(source, size, split, **options)


def _is_world(source: str) -> bool:
    return source.startswith("world:")


def _pick(dataset: Dataset, source: str, count: int, seed: int, problems: Problems) -> list[Example]:
    """The first items of a world, items from anywhere in a user's own data."""
    from itertools import islice

    from pinxit.data.order import order
    from pinxit.data.problems import usable_items

    length, most = len(dataset), min(count, sys.maxsize)  # `islice` takes no more
    indices = range(length) if _is_world(source) else (order(place, length, seed) for place in range(length))
    return list(islice(usable_items(dataset, indices, problems), most))


def _warn_of_missing_font(texts: list[str]) -> None:
    from pinxit.data.fonts import is_cjk, system_font

    if any(map(is_cjk, texts)) and system_font("chinese") is None:
        typer.echo("this system has no Chinese font (fonts-noto-cjk, say), so characters show as boxes", err=True)


def _tell(problems: Problems, named: int | None = None) -> None:
    from pinxit.data.problems import NAMED

    if problems:
        warn(problems.report(named or NAMED))

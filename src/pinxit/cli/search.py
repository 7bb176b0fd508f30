"""`pinxit search`: find pictures by a sentence, or by another picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pinxit.cli.console import print_json, print_lines, warn
from pinxit.cli.open_clip import activation_of, clip_with_bar
from pinxit.cli.options import ActivationName, ClipName, Device
from pinxit.errors import CheckpointError, UsageError
from pinxit.files import check_file, check_writable
from pinxit.pictures import check_picture
from pinxit.texts import counted, printable

if TYPE_CHECKING:
    from pinxit.recipes.clip.index import Hit

SHOWN = 192  # pixels a side of a picture on the sheet


class FindByDefault(TyperGroup):
    """`pinxit search INDEX ...` is `pinxit search find INDEX ...`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["find", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(help="Find pictures by a sentence or by another picture.", no_args_is_help=True, cls=FindByDefault)


@app.command("index")
def index(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the index; an existing one is updated.")],
    checkpoint: ClipName = "tiny",
    activation: ActivationName = None,
    device: Device = "auto",
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Compute in bfloat16: about twice as fast, on processors that have it.")
    ] = False,
) -> None:
    """Make an index of pictures, or update one.

    Only new and changed files are read. If killed, it resumes where it was; pictures that cannot be read are reported.

    [bold]Example[/bold]

      pinxit search index photos/ --out photos.index --checkpoint ViT-B-32.pt
    """
    check_writable(out)
    with clip_with_bar(checkpoint, device, "index", bf16, activation=activation) as clip:
        picture_index, problems = clip.index(pictures, out)
    if problems:
        warn(problems.report())
    print_lines(f"{out}: {counted(len(picture_index), 'picture')}")


@app.command("find")
def find(
    index: Annotated[Path, typer.Argument(help="Folder of an index.")],
    sentence: Annotated[str | None, typer.Argument(help="What the pictures should show.")] = None,
    like: Annotated[Path | None, typer.Option(help="A picture that the others should be like.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many pictures to find.")] = 12,
    out: Annotated[Path, typer.Option(help="Contact sheet of what was found.")] = Path("pinxit-search.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a picture, best first.")] = False,
    checkpoint: Annotated[
        str | None, typer.Option(help="The CLIP that made the index.", show_default="as it remembers")
    ] = None,
    activation: ActivationName = None,
    device: Device = "auto",
) -> None:
    """Find pictures in an index: by a sentence, or with --like by another picture.

    [bold]Examples[/bold]

      pinxit search photos.index "a fox in the snow"
      pinxit search photos.index --like fox.jpg --top 24
    """
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.clip.facade import Clip
    from pinxit.recipes.clip.index import PictureIndex

    check_file(out)
    check_picture(out)
    opened = PictureIndex.open(index)
    try:
        named = opened.model if checkpoint is None else checkpoint
        clip = Clip(ClipEncoder.open(named, device, activation_of(activation) or opened.activation))
    except CheckpointError as error:
        if checkpoint is not None:
            raise
        raise CheckpointError(f"{index} was made with {opened.model}, which cannot be opened: {error}") from error
    hits = clip.search(opened, sentence, like=like, top=top)
    if not hits:
        raise UsageError(f"{index} holds no pictures.")
    if opened.unstored:
        lacks = (
            f"pinxit: the search graph of {index} lacks {counted(opened.unstored, 'picture')}, which this search added"
        )
        warn(f"{lacks}; 'pinxit search index PICTURES --out {index}' adds them for good.")
    for hit in hits:
        if as_json:
            print_json({"path": str(hit.path), "score": round(hit.score, 6)})
        else:
            print_lines(f"{hit.score:.3f}  {hit.path}")
    if _write_sheet(hits, out):
        (warn if as_json else print_lines)(f"sheet: {out}")


def _write_sheet(hits: list[Hit], out: Path) -> bool:
    """Write the pictures that are still there; returns whether there is one."""
    from pinxit.data.decode import read_picture
    from pinxit.data.problems import ItemError
    from pinxit.data.sheet import sheet
    from pinxit.data.transforms import square_crop
    from pinxit.pictures import write_picture

    shown, labels = [], []
    for hit in hits:
        try:
            shown.append(square_crop(read_picture(hit.path), SHOWN, "bicubic"))
            labels.append(f"{hit.score:.3f} {printable(hit.path.name)}")
        except ItemError as error:
            warn(f"no longer readable: {error}")
    if shown:
        write_picture(out, sheet(shown, labels))
    return bool(shown)

"""`pinxit data encode` and `index`: files that are computed once for tar shards, for all runs that stream these."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pinxit.cli.console import print_lines
from pinxit.cli.options import Device, EngineChoice, EngineOption, Workers, check_workers
from pinxit.cli.progress import bar
from pinxit.locks import file_lock
from pinxit.texts import counted

Shards = Annotated[
    str, typer.Argument(metavar="SHARDS", help="A folder of tars, a pattern, or a URL of fsspec.", show_default=False)
]


class EncoderKind(StrEnum):
    """Which frozen model computes sidecars."""

    text = "text"
    clip = "clip"
    dvae = "dvae"


class Script(StrEnum):
    """Which captions."""

    latin = "latin"
    all = "all"


def encode(
    shards: Shards,
    by: Annotated[EncoderKind, typer.Option("--with", help="What is to be computed of every item.")],
    model: Annotated[
        str,
        typer.Option(help="A text encoder, a CLIP, a Karlo for either, or a DALL-E checkpoint: a name or a folder."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder of the sidecars.", show_default="beside the shards")
    ] = None,
    length: Annotated[int | None, typer.Option(min=2, help="Text: tokens; longer captions are cut.")] = None,
    padded: Annotated[bool, typer.Option(help="Text: clean captions and keep pads, as DeepFloyd IF reads.")] = False,
    spell: Annotated[
        bool, typer.Option(help="Text: read quoted words and capitals by letters, as text.spell of the run.")
    ] = False,
    script: Annotated[
        Script, typer.Option(help="Text: captions that are read, as data.script of the run.")
    ] = Script.latin,
    device: Device = "auto",
    engine: EngineOption = EngineChoice.local,
    workers: Workers = None,
) -> None:
    """Encode the items of every shard by a frozen model into a file beside it, so that training need not run the model.

    If killed, the same command goes on with the next shard. With --engine ray many processes encode a shard each; all
    machines must see the folder of the sidecars.

    [bold]Examples[/bold]

      pinxit data encode shards --with text --model minilm --length 56 --spell \\
          --out texts
      pinxit data encode "s3://bucket/{000..099}.tar" --with clip \\
          --model ViT-B-32.pt --out vectors
      pinxit data encode shards --with text --model my-t5 --out texts \\
          --engine ray --workers 16
    """
    from pinxit.cli.encode_ray import encode_by_ray
    from pinxit.data.sidecars import encode_shards, sidecars_lock
    from pinxit.data.stream_index import folder_beside
    from pinxit.recipes.sidecars import row_encoder

    check_workers(engine, workers)
    folder = out or folder_beside(shards)
    asked: dict[str, Any] = {"by": by.value, "model": model, "device": device}
    asked |= {"length": length, "padded": padded, "spell": spell, "script": script.value}
    with sidecars_lock(by.value, folder):
        if engine is EngineChoice.ray:
            written = encode_by_ray(shards, asked, folder, workers)
        else:
            encoder = row_encoder(**asked)
            with bar("encoding") as progress:
                written = encode_shards(shards, encoder, folder, progress)
    print_lines(f"{counted(len(written), 'sidecar')} in {folder}")


def index(
    shards: Shards,
    out: Annotated[Path | None, typer.Option(help="The folder of the index.", show_default="beside the shards")] = None,
) -> None:
    """Read SHARDS once and list their contents in pinxit-index.jsonl, so that runs which find it need not read them.

    For shards on the network this saves every run from downloading all of them before it begins: index them with
    --out, and copy the file to where they are. If killed, the same command goes on with the next shard.

    [bold]Examples[/bold]

      pinxit data index shards
      pinxit data index "s3://bucket/data/{000..099}.tar" --out here
      aws s3 cp here/pinxit-index.jsonl s3://bucket/data/
    """
    from pinxit.data.stream_index import INDEX, folder_beside, index_shards

    folder = out or folder_beside(shards)
    with file_lock(folder / ".index.lock", f"the index in {folder}"), bar("looking") as progress:
        found = index_shards(shards, folder, progress)
    items, tars = counted(sum(one["items"] for one in found), "item"), counted(len(found), "shard")
    print_lines(f"{items} in {tars}, listed in {folder / INDEX}")

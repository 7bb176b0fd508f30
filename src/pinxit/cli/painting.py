"""What the verbs that paint share: their options, and drawing with a bar and a preview."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinxit.cli.options import LARGEST
from pinxit.cli.telling import tell, tell_json, warn
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.recipes.painting import Painter, Watch
    from pinxit.types import Ranked

MOST = 100_000  # candidates of a prompt: as many are held in memory

Candidates = Annotated[int, typer.Option(min=1, max=MOST, help="How many pictures to draw before the best are kept.")]
Keep = Annotated[int, typer.Option(min=1, help="How many of the best to keep, as CLIP ranks them.")]
Seed = Annotated[
    int, typer.Option(min=0, max=LARGEST, help="The same seed gives the same pictures, whatever else is asked for.")
]
Guidance = Annotated[
    float | None,
    typer.Option(
        help="Classifier-free guidance: 1 is none, more follows the words closer.", show_default="the checkpoint's"
    ),
]
Temperature = Annotated[
    float | None, typer.Option(help="dalle: below 1 is safer, above 1 wilder.", show_default="the checkpoint's")
]
Out = Annotated[
    Path,
    typer.Option(
        help="Folder for the results; each prompt gets a folder of its own there, with preview.png while it is painted."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a prompt, best picture first.")]
Int8 = Annotated[
    bool,
    typer.Option("--int8", help="dalle: weights as int8 while decoding: fewer bytes a step, pictures differ slightly."),
]
Strict = Annotated[bool, typer.Option(help="Refuse a prompt that is too long instead of cutting its end off.")]
CheckpointOption = Annotated[str, typer.Option(help="A shipped checkpoint's name, or a checkpoint folder.")]


def say_about(painter: Painter, text: str, strict: bool) -> None:
    """Say on stderr what the painter will not make of the prompt; with `strict`, a cut prompt is an error."""
    dropped = painter.tokens_over_limit(text)
    if dropped:
        message = f"the prompt is {dropped} tokens over the limit of {painter.text_tokens}"
        if strict:
            raise UsageError(f"{message}: shorten it, or drop --strict to paint its beginning.")
        warn(f"pinxit: {message}: the last {dropped} are dropped.")
    unknown = painter.unknown_words(text)
    if unknown:
        words = ", ".join(f"'{word}'" for word in unknown)
        warn(f"pinxit: {painter.name} has never met {words} in training and will guess.")


def draw_and_write(
    painter: Painter,
    texts: Sequence[str],
    draw: Callable[[Watch], Generator[list[Ranked], None, None]],
    out: Path,
    settings: dict[str, Any],
    as_json: bool,
) -> None:
    """Write a folder for each text as its pictures come, and say where; `draw` gives them in the order of `texts`."""
    from pinxit.cli.output import as_json as json_line
    from pinxit.cli.output import folder_name, write_results
    from pinxit.cli.progress import painting
    from pinxit.files import check_writable

    facts = painter.facts(settings)
    folders = [out / folder_name(text, facts) for text in texts]
    for folder in folders:
        check_writable(folder)
    now: list[Watch] = []  # who watches the prompt that is next to come
    with closing(draw(lambda painted: now[-1](painted))) as coming:
        for text, folder in zip(texts, folders, strict=True):
            with painting(text, folder / "preview.png") as watching:
                now.append(watching)
                ranked = next(coming)
            paths = write_results(folder, text, ranked, facts)
            if as_json:
                tell_json(json_line(text, ranked, paths))
            else:
                tell(str(folder / "sheet.png"))

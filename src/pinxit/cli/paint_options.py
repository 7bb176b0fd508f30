"""Options that the painting verbs share, and warnings about a prompt before it is painted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from pinxit.cli.console import warn
from pinxit.cli.options import LARGEST
from pinxit.errors import UsageError
from pinxit.texts import counted

LONGEST = 40  # characters of an unknown word that are shown

if TYPE_CHECKING:
    from pinxit.recipes.painting import Painter

MOST = 100_000  # candidates of a prompt, which are all held in memory

Candidates = Annotated[int, typer.Option(min=1, max=MOST, help="How many pictures to draw before the best are kept.")]
Keep = Annotated[int, typer.Option(min=1, help="How many of the best to keep, as CLIP ranks them.")]
Seed = Annotated[
    int, typer.Option(min=0, max=LARGEST, help="The same seed gives the same pictures, whatever else is asked for.")
]
Guidance = Annotated[
    float | None,
    typer.Option(
        help="Classifier-free guidance: 1 is none, more follows the prompt closer.", show_default="the checkpoint's"
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
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON in place of the path: one object a command or prompt.")
]
Int8 = Annotated[
    bool,
    typer.Option("--int8", help="dalle: weights as int8 while decoding: fewer bytes a step, pictures differ slightly."),
]
Strict = Annotated[bool, typer.Option(help="Refuse a prompt that is too long instead of cutting its end off.")]
CheckpointOption = Annotated[str, typer.Option(help="A shipped checkpoint's name, or a checkpoint folder.")]


def warn_about_prompt(painter: Painter, text: str, strict: bool) -> None:
    """Warn on stderr of a prompt that is too long or has unknown words; `strict`: raise UsageError if too long.

    Raises UsageError for what is no `Prompt`, too.
    """
    from pinxit.types import Prompt

    Prompt(text)
    dropped = painter.tokens_over_limit(text)
    if dropped:
        message = f"the prompt is {counted(dropped, 'token')} over the limit of {painter.text_tokens}"
        if strict:
            raise UsageError(f"{message}: shorten it, or drop --strict to paint its beginning.")
        warn(f"pinxit: {message}: the last {'one is' if dropped == 1 else f'{dropped:,} are'} dropped.")
    unknown = painter.unknown_words(text)
    if unknown:
        words = shorten(", ".join(f"'{word[:LONGEST]}'" for word in unknown), 10 * LONGEST, placeholder=" ...")
        warn(f"pinxit: {painter.name} has never met {words} in training and will guess.")


def warn_about_prompts(name: str, painter: Painter, texts: Iterable[str]) -> None:
    """Warn on stderr, in one line, of the prompts of an exam that have words unknown to the painter `name`."""
    asked = list(dict.fromkeys(texts))
    strange = [text for text in asked if painter.unknown_words(text)]
    if strange:
        example = shorten(strange[0], 2 * LONGEST, placeholder=" ...")
        count = f"{len(strange):,} of {counted(len(asked), 'prompt')}"
        warn(f"pinxit: {name} has never met some words of {count} in training, such as '{example}', and will guess.")


def sides_of(option: str, text: str) -> tuple[int, int, int, int]:
    """The numbers left, top, right, bottom that an option was given. Raises UsageError for anything else."""
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} must be four whole numbers left,top,right,bottom, not '{text}'.") from None
    return left, top, right, bottom

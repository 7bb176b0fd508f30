"""What the help says about the shipped painter is true of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
from rich.markup import render
from typer.models import OptionInfo

from pinxit.cli import complete, paint
from pinxit.text.tokenizers import Tokenizer
from pinxit.weights.zoo import find
from tests.cli.helpers import Cli
from tests.cli.test_options import KNOWN


def examples(verb: Callable[..., None]) -> list[list[str]]:
    """The command lines of its help that use the shipped painter."""
    lines = [line.strip() for line in re.sub(r"\\\n *", "", verb.__doc__ or "").splitlines()]
    found = [shlex.split(line) for line in lines if line.startswith("pinxit ")]
    return [words for words in found if "--checkpoint" not in words and "--prompts" not in words]


def grid_and_size() -> tuple[int, int]:
    parts: dict[str, Any] = json.loads((find("tiny") / "pinxit.json").read_text(encoding="utf-8"))["parts"]
    return parts["transformer"]["config"]["grid"], parts["dvae"]["config"]["size"]


def option(verb: Callable[..., None], name: str) -> OptionInfo:
    """What the command line tells of a parameter."""
    (found,) = get_type_hints(verb, include_extras=True)[name].__metadata__
    assert isinstance(found, OptionInfo)
    return found


both = pytest.mark.parametrize("verb", [paint.paint, complete.complete])


@both
def test_the_shipped_painter_knows_every_word_of_the_examples(verb: Callable[..., None]) -> None:
    tokenizer = Tokenizer.open(find("tiny"))
    place = 2 if verb is paint.paint else 3
    prompts = [words[place] for words in examples(verb)]
    assert len(prompts) >= 2
    assert [tokenizer.unknown_words(prompt) for prompt in prompts] == [[]] * len(prompts)


def test_complete_tells_the_shipped_painters_grid_and_size() -> None:
    grid, size = grid_and_size()
    assert f"tiny's has {grid}" in (option(complete.complete, "keep_rows").help or "")
    assert f"{size} px a side for tiny" in (complete.complete.__doc__ or "")
    halves = [words[words.index("--keep-rows") + 1] for words in examples(complete.complete) if "--keep-rows" in words]
    assert halves == [str(grid // 2)]  # "on the top ... on the bottom"


@both
@pytest.mark.parametrize("name", ["guidance", "temperature"])
def test_defaults_that_are_the_checkpoints_say_so(verb: Callable[..., None], name: str) -> None:
    assert option(verb, name).show_default == "the checkpoint's"


@both
def test_the_preview_is_named_where_results_go(verb: Callable[..., None]) -> None:
    assert "preview.png" in (option(verb, "out").help or "")


def test_without_a_command_the_commands_are_listed(cli: Cli) -> None:
    done = cli()
    assert "Type a sentence, get a picture" in done.out and " complete " in done.out and done.err == ""


@pytest.mark.parametrize("name", KNOWN)
def test_examples_can_be_copied_from_a_terminal_of_80_columns(name: str) -> None:
    """A longer line is broken by the help itself, which a shell would take for two commands."""
    lines = re.findall("^  +.*", KNOWN[name].help, re.M)
    assert [line for line in lines if len(line) > 78] == []


@pytest.mark.parametrize("name", KNOWN)
def test_no_extra_is_taken_for_a_style(name: str) -> None:
    """`pinxit[ray]` and `.[ray]`, without a backslash, would be shown as `pinxit` and `.`."""
    texts = [KNOWN[name].help, *(param.help for param in KNOWN[name].params if getattr(param, "help", None))]
    assert [
        text
        for text in texts
        if len(re.findall(r"[t.]\\?\[[a-z]", text)) != len(re.findall(r"[t.]\[[a-z]", render(text).plain))
    ] == []


@pytest.mark.parametrize("name", KNOWN)
def test_paragraphs_of_the_help_flow(name: str) -> None:
    """A break of the source, at 120 characters, would leave a ragged line on a terminal of 80 columns."""
    assert re.findall(r"^\S.*\n\S.*", KNOWN[name].help, re.M) == []

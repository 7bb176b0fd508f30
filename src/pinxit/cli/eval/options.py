"""Options that the commands for measuring painters share, and the exam that they define."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pinxit.evaluation.questions import Exam

Split = Annotated[str, typer.Option(help="unseen: combinations never met in training; seen: fresh scenes.")]
PainterName = Annotated[str, typer.Option("--checkpoint", help="The painter: a shipped name or a checkpoint folder.")]
JudgeName = Annotated[str, typer.Option("--judge", help="The judge: a shipped name or a checkpoint folder.")]
Seed = Annotated[int, typer.Option(min=0, help="Which prompts and which pictures.")]
Language = Annotated[str, typer.Option(help="Of the prompts: en or zh.")]
Words = Annotated[
    str,
    typer.Option(
        help="Of the prompts: plain; held-out: nouns that are in no training caption; in-vocabulary: the same "
        "sentences with the usual nouns; paraphrased: sentences worded as no training caption is."
    ),
]


def exam_of(
    preset: str, split: str, prompts: int, language: str, words: str, seed: int, attributes: frozenset[str]
) -> Exam:
    """The exam that the options define, without tasks that a judge with these attributes cannot judge.

    Raises UsageError for values that do not exist or do not go together.
    """
    from pinxit.config import from_dict
    from pinxit.evaluation.questions import Exam, judged_by
    from pinxit.world.vocabulary import lexicon

    values = {"preset": preset, "split": split, "prompts": prompts, "language": language, "seed": seed}
    values |= {"words": words, "tasks": judged_by(attributes, lexicon(preset).preset)}
    return from_dict(Exam, values, "exam")

"""Options that the commands that measure painters share, and the exam that they ask for."""

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
        help="Of the prompts: plain; held-out: nouns that no training caption holds; in-vocabulary: the usual nouns in "
        "the same sentences; paraphrased: sentences put as no training caption is."
    ),
]


def exam_of(
    preset: str, split: str, prompts: int, language: str, words: str, seed: int, attributes: frozenset[str]
) -> Exam:
    """The exam that the options ask for, without the tasks that a judge of these attributes cannot see.

    Raises UsageError for an exam that there is not.
    """
    from pinxit.config import from_dict
    from pinxit.evaluation.questions import Exam, judged_by
    from pinxit.world.vocabulary import lexicon

    values = {"preset": preset, "split": split, "prompts": prompts, "language": language, "seed": seed}
    values |= {"words": words, "tasks": judged_by(attributes, lexicon(preset).preset)}
    return from_dict(Exam, values, "exam")

"""The model card of a DALL-E: what it is, how it was trained and on what, what it scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinxit.recipes.card import licence, scores, table
from pinxit.recipes.command import command
from pinxit.recipes.dalle.presets import PRESETS
from pinxit.recipes.dalle.run import RECIPE, DalleRun

SHOWN = ("loss", "mse", "text", "image", "right")  # last figures of a stage


def card(run: DalleRun, facts: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> str:
    """The card; `facts` is the checkpoint's provenance, `report` what `pinxit eval world --out` wrote of it."""
    config, source = run.config, run.config.data.source
    start = f", started from checkpoint {facts['started_from']}" if facts["started_from"] else ""
    line = command(RECIPE, config, PRESETS, "CHECKPOINT" if start else None, grow=run.grown)
    return f"""# A DALL-E for {source}

Paints pictures of {config.dvae.size} pixels from a sentence: a transformer of width {config.transformer.dim} and depth
{config.transformer.depth} writes the picture as {_codes(run, facts["codes"])}, the discrete VAE draws them, CLIP ranks
the candidates. After "Zero-Shot Text-to-Image Generation" (arXiv 2102.12092) and "Learning Transferable Visual Models
From Natural Language Supervision" (arXiv 2103.00020).

    pinxit paint "a sentence" --checkpoint FOLDER

## Training

Trained from nothing but {facts["pictures"]:,} pictures of {source} and their captions,
with seed {facts["seed"]}{start}; weights are running averages, stored in {config.store}. The command:

    {line}

{table(facts["stages"], SHOWN)}

## Scores

{scores(RECIPE, source, report)}

## Limits

It knows the things, colours, counts and relations of its training captions and nothing else of the world; prompts with
other words are painted as guesses. Photographs of people, places or events were not among its data unless the source
above holds them.

## Licence

{licence(source)}
"""


def _codes(run: DalleRun, usage: Mapping[str, float]) -> str:
    grid, dvae = run.config.transformer.grid, run.config.dvae
    used = f" ({usage['share_used']:.1%} in use, perplexity {usage['perplexity']:,.0f})" if usage else ""
    return f"{dvae.quantiser} codes, {grid} x {grid} of {dvae.codes:,}{used}"

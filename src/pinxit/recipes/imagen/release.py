"""Stage checkpoint: the averaged weights of a finished run as a folder that `pinxit paint` opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pinxit.config import to_dict
from pinxit.data.streams import open_pictures
from pinxit.recipes.card import licence, save_with_card, scores, table
from pinxit.recipes.command import command
from pinxit.recipes.diffusion.task import TEXT
from pinxit.recipes.imagen.presets import PRESETS
from pinxit.recipes.imagen.run import RECIPE, ImagenRun
from pinxit.recipes.provenance import provenance
from pinxit.text.encoders import located
from pinxit.training import state as states
from pinxit.weights import zoo
from pinxit.weights.checkpoint import Part

SHOWN = ("loss", "noisy", "clean")


def write_checkpoint(run: ImagenRun) -> None:
    """Write RUN/checkpoint: the averaged networks, which text encoder they read, their provenance, a model card.

    If RUN/scores.json is an exam's report about the same weights, the card shows its scores.
    """
    parts = {}
    for stage in run.config.stages:
        parts[stage.name] = Part(stage.network, states.read_weights(run.path(stage.name), stage.name))
    learned, files, first, last = run.config.text.learned, {}, run.config.cascade[0], run.config.cascade[-1]
    if learned is not None:
        parts[TEXT] = Part(learned, states.read_weights(run.path(first), TEXT))
        files = {path.name: path.read_bytes() for path in sorted(run.path("tokenizer").glob("*.json"))}
    # relative paths, which old runs may hold, become absolute
    text = replace(run.config.text, encoder=located(run.config.text.encoder))
    about = open_pictures(run.banks[0]).about
    facts = provenance(run, about, run.config.cascade, SHOWN) | {"reader": run.config.text.encoder}
    settings = {
        "sampling": to_dict(run.config.sampling),
        "text": to_dict(text),
        "reader": None if learned is not None else run.reader(last).fingerprint,
        "ranker": zoo.located(run.config.ranker),
    }
    save_with_card(run, RECIPE, parts, facts, partial(card, run), extra_files=files, settings=settings)


def card(run: ImagenRun, facts: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> str:
    """The model card; `facts` is the checkpoint's provenance, `report` what `pinxit eval world --out` wrote of it."""
    config, source = run.config, run.config.data.source
    base, *upsamplers = config.stages
    enlarged = " and then ".join(str(stage.size) for stage in upsamplers)
    enlarges = f" and enlarges them to {enlarged}" if upsamplers else ""
    models = f"{len(config.stages)} diffusion models draw" if upsamplers else "a diffusion model draws"
    start = f", started from checkpoint {facts['started_from']}" if facts["started_from"] else ""
    reader = "a text encoder of its own" if config.text.learned else f"a frozen language model ({facts['reader']})"
    return f"""# An Imagen for {source}

Paints pictures of {base.size} pixels from a sentence{enlarges}: {reader}
reads, {models}. After "Photorealistic Text-to-Image Diffusion Models with Deep
Language Understanding" (arXiv 2205.11487).

    pinxit paint "a sentence" --checkpoint FOLDER

## Training

Trained from nothing but {facts["pictures"]:,} pictures of {source} and their captions,
with seed {facts["seed"]}{start}; weights are running averages, stored in {config.store}.
A frozen language model is none of them. The command:

    {command(RECIPE, config, PRESETS, "CHECKPOINT" if start else None)}

{table(facts["stages"], SHOWN)}

The figures are squared errors: of all noise levels, of the noisier and of the cleaner half.

## Scores

{scores(RECIPE, source, report)}

## Limits

It knows the things, colours, counts and relations of its training captions; a language model lets other words of near
meaning do. Photographs of people, places or events were not among its data unless the source above holds them.

## Licence

{licence(source)}
"""

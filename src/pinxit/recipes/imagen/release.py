"""Stage checkpoint: the averaged weights of a finished run as a folder that `pinxit paint` opens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pinxit.config import to_dict
from pinxit.recipes.imagen.run import RECIPE, TRAINED, ImagenRun
from pinxit.recipes.imagen.task import TEXT
from pinxit.text.encoders import located
from pinxit.training import state as states
from pinxit.training.log import duration, read_metrics
from pinxit.weights.checkpoint import Part, save_checkpoint


def write_checkpoint(run: ImagenRun) -> None:
    """Write RUN/checkpoint: the averaged networks, whose text they read, where they come from, a model card."""
    parts = {}
    for stage in TRAINED:
        parts[stage] = Part(getattr(run.config, stage), states.read_weights(run.path(stage), stage))
    learned, files = run.config.text.learned, {}
    if learned is not None:
        parts[TEXT] = Part(learned, states.read_weights(run.path("base"), TEXT))
        files = {path.name: path.read_bytes() for path in sorted(run.path("tokenizer").glob("*.json"))}
    text = replace(run.config.text, encoder=located(run.config.text.encoder))  # old runs have it as it was typed
    facts = _provenance(run)
    settings = {
        "sampling": to_dict(run.config.sampling),
        "text": to_dict(text),
        "reader": None if learned is not None else run.reader("upsampler").fingerprint,
        "ranker": run.config.ranker,
    }
    save_checkpoint(
        run.path("checkpoint"),
        RECIPE,
        parts,
        extra_files=files,
        provenance=facts,
        settings=settings,
        card=_card(run, facts),
        store=run.config.store,
    )


def _provenance(run: ImagenRun) -> dict[str, Any]:
    """What the weights are made of: data, reader, seed, images seen and time spent by stage, the last losses."""
    stages = {}
    for stage in TRAINED:
        progress, lines = states.read_progress(run.path(stage)), read_metrics(run.path(stage))
        last = {key: value for key, value in lines[-1].items() if key in SHOWN} if lines else {}
        stages[stage] = {"images": progress.images, "hours": round(progress.seconds / 3600, 3)} | last
    about = run.bank().about
    return {
        "data": run.config.data.source,
        "pictures": about["items"],
        "source": about["source"],
        "reader": run.config.text.encoder,
        "seed": run.config.seed,
        "stages": stages,
    }


SHOWN = ("loss", "noisy", "clean")


def _card(run: ImagenRun, facts: dict[str, Any]) -> str:
    rows = []
    for stage, told in facts["stages"].items():
        numbers = ", ".join(f"{key} {told[key]:.4g}" for key in SHOWN if told.get(key) is not None)
        rows.append(f"| {stage} | {told['images']:,} | {duration(told['hours'] * 3600)} | {numbers} |")
    table, config = "\n".join(rows), run.config
    return f"""# An Imagen for {facts["data"]}

Paints pictures of {config.base.size} pixels from a sentence and enlarges them to {config.upsampler.size}: a frozen
language model ({config.text.encoder}) reads, two diffusion models draw. After "Photorealistic Text-to-Image Diffusion
Models with Deep Language Understanding" (arXiv 2205.11487).

    pinxit paint "a sentence" --checkpoint FOLDER

Trained from nothing but {facts["pictures"]:,} pictures of {facts["data"]} and their captions by `pinxit train imagen`
with seed {facts["seed"]}; weights are running averages, stored in {config.store}. The language model is not part of it.

| stage | images seen | time | last figures (squared errors) |
|---|---|---|---|
{table}

It knows the things, colours, counts and relations of its training captions; the language model lets other words of
near meaning do. Photographs of people, places or events were not among its data unless the source above holds them.
"""

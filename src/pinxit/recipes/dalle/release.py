"""Stage checkpoint: the averaged weights of a finished run as a folder that `pinxit paint` opens."""

from __future__ import annotations

from typing import Any

from pinxit.config import to_dict
from pinxit.recipes.dalle.run import RECIPE, DalleRun
from pinxit.training import state as states
from pinxit.training.log import duration, read_metrics
from pinxit.weights.checkpoint import Part, save_checkpoint

TRAINED = ("dvae", "transformer", "clip")


def write_checkpoint(run: DalleRun) -> None:
    """Write RUN/checkpoint: three parts, the tokenizer, where they come from, and the model card."""
    configs = {name: getattr(run.config, name) for name in TRAINED}
    parts = {name: Part(configs[name], states.read_weights(run.path(name), name)) for name in TRAINED}
    tokenizer = run.path("tokenizer")
    files = {path.name: path.read_bytes() for path in sorted(tokenizer.iterdir()) if path.suffix == ".json"}
    facts = provenance(run)
    settings = {"size": run.config.dvae.size} | to_dict(run.config.sampling)
    if not run.config.noise.caption_drop:  # a transformer that never lacked a caption cannot be guided
        settings["guidance"] = 1.0
    save_checkpoint(
        run.path("checkpoint"),
        RECIPE,
        parts,
        extra_files=files,
        provenance=facts,
        settings=settings,
        card=card(run, facts),
        store=run.config.store,
    )


def provenance(run: DalleRun) -> dict[str, Any]:
    """What the weights are made of: data, seed, images seen and time spent by stage, the last losses.

    Images and hours of a run that started from a checkpoint count that one's too.
    """
    stages, start = {}, run.start()
    for name in TRAINED:
        progress = states.read_progress(run.path(name))
        lines = read_metrics(run.path(name))
        last = {key: value for key, value in lines[-1].items() if key in SHOWN} if lines else {}
        before = start.get("stages", {}).get(name, {})
        sums = {
            "images": progress.images + before.get("images", 0),
            "hours": round(progress.seconds / 3600 + before.get("hours", 0.0), 3),
        }
        stages[name] = before | sums | last
    about = run.bank().about
    return {
        "data": run.config.data.source,
        "pictures": about["items"],
        "source": about["source"],
        "seed": run.config.seed,
        "started_from": start.get("checkpoint"),
        "stages": stages,
        "noise": to_dict(run.config.noise),
    }


SHOWN = ("loss", "mse", "codes_used", "text", "image", "right")


def card(run: DalleRun, facts: dict[str, Any]) -> str:
    """The model card."""
    config, rows = run.config, []
    for name, told in facts["stages"].items():
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in told.items() if key in SHOWN and value is not None)
        rows.append(f"| {name} | {told['images']:,} | {duration(told['hours'] * 3600)} | {numbers} |")
    table = "\n".join(rows)
    start = f", started from checkpoint {facts['started_from']}" if facts["started_from"] else ""
    code = (
        f"{config.dvae.quantiser} codes, {config.transformer.grid} x {config.transformer.grid} of {config.dvae.codes}"
    )
    return f"""# A DALL-E for {facts["data"]}

Paints pictures of {config.dvae.size} pixels from a sentence: a transformer of width {config.transformer.dim} and depth
{config.transformer.depth} writes the picture as {code}, the discrete VAE draws them, CLIP ranks the candidates.
After "Zero-Shot Text-to-Image Generation" (arXiv 2102.12092) and "Learning Transferable Visual Models From Natural
Language Supervision" (arXiv 2103.00020).

    pinxit paint "a sentence" --checkpoint FOLDER

Trained from nothing but {facts["pictures"]:,} pictures of {facts["data"]} and their captions by `pinxit train dalle`
with seed {facts["seed"]}{start}; weights are running averages, stored in {run.config.store}.

| stage | images seen | time | last figures |
|---|---|---|---|
{table}

It knows the things, colours, counts and relations of its training captions and nothing else of the world; prompts with
other words are painted as guesses. Photographs of people, places or events were not among its data unless the source
above holds them.
"""

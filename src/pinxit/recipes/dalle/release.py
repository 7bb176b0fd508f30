"""Stage checkpoint: the averaged weights of a finished run as a folder that `pinxit paint` opens."""

from __future__ import annotations

from functools import partial

from pinxit.config import to_dict
from pinxit.recipes.card import save_with_card
from pinxit.recipes.dalle.card import SHOWN, card
from pinxit.recipes.dalle.run import RECIPE, DalleRun
from pinxit.recipes.provenance import provenance
from pinxit.training import state as states
from pinxit.weights.checkpoint import Part

TRAINED = ("dvae", "transformer", "clip")


def write_checkpoint(run: DalleRun) -> None:
    """Write RUN/checkpoint: the three models, the tokenizer, their provenance, and the model card.

    If RUN/scores.json is an exam's report about the same weights, the card shows its scores.
    """
    configs = {name: getattr(run.config, name) for name in TRAINED}
    parts = {name: Part(configs[name], states.read_weights(run.path(name), name)) for name in TRAINED}
    tokenizer = run.path("tokenizer")
    files = {path.name: path.read_bytes() for path in sorted(tokenizer.iterdir()) if path.suffix == ".json"}
    codes = {name: value for name, value in run.about_codes().items() if name in ("share_used", "perplexity")}
    facts = provenance(run, run.pictures().about, TRAINED, SHOWN) | {"codes": codes, "noise": to_dict(run.config.noise)}
    settings = {"size": run.config.dvae.size} | to_dict(run.config.sampling)
    if not run.config.noise.caption_drop:  # a transformer trained without caption dropout cannot be guided
        settings["guidance"] = 1.0
    save_with_card(run, RECIPE, parts, facts, partial(card, run), extra_files=files, settings=settings)

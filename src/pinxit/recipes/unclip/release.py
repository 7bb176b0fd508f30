"""Stage checkpoint: the averaged weights of a finished run as a folder that `recipes.unclip.open` opens."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pinxit.config import to_dict
from pinxit.recipes.card import licence, save_with_card, scores, table
from pinxit.recipes.command import command
from pinxit.recipes.provenance import provenance
from pinxit.recipes.unclip.config import DECODER, SPACE
from pinxit.recipes.unclip.presets import PRESETS
from pinxit.recipes.unclip.run import RECIPE, UnclipRun
from pinxit.recipes.unclip.space_file import about_space
from pinxit.training import state as states
from pinxit.weights.checkpoint import Part

SHOWN = ("loss", "noisy", "clean", "first")


def write_checkpoint(run: UnclipRun) -> None:
    """Write RUN/checkpoint: the space, the averaged networks, whose text and whose eyes they know, a model card.

    Where RUN/scores.json is an exam's report of the same weights, the card has its scores.
    """
    config, space = run.config, run.space
    parts = {SPACE: Part(space.config, space.state_dict(), exact=True)}
    for prior in run.priors:
        parts[prior.name] = Part(prior.parts, states.read_weights(run.path(prior.name), prior.name))
    parts[DECODER] = Part(config.decoder.network, states.read_weights(run.path(DECODER), DECODER))
    for one in run.upsamplers:
        parts[one.name] = Part(one.network, states.read_weights(run.path(one.name), one.name))
    own = {"clip": config.clip, "reader": config.text.encoder, "kept": about_space(run.path(SPACE))["kept"]}
    facts = provenance(run, run.pictures().about, run.trained, SHOWN) | own
    settings = {
        "sampling": to_dict(config.sampling),
        "imagining": to_dict(config.imagining),
        "text": to_dict(config.text),
        "reader": run.reader.fingerprint,
        "clip": config.clip,
        "sight": run.clip.fingerprint,
    }
    save_with_card(run, RECIPE, parts, facts, partial(card, run), settings=settings)


def card(run: UnclipRun, facts: Mapping[str, Any], report: Mapping[str, Any] | None = None) -> str:
    """The model card; `facts` is the checkpoint's provenance, `report` what `pinxit eval world --out` wrote of it."""
    config, source = run.config, run.config.data.source
    start = f", started from checkpoint {facts['started_from']}" if facts["started_from"] else ""
    kinds = {one.name: "autoregressive" if one.network.buckets else "diffusion" for one in run.priors}
    priors = " and ".join(f"'{name}' ({kind})" for name, kind in kinds.items())
    tells = f"The priors {priors} tell" if len(kinds) > 1 else f"The prior {priors} tells"
    sizes = " and then ".join(str(one.size) for one in run.upsamplers)
    enlarged = f" and enlarged to {sizes}" if sizes else ""
    return f"""# An unCLIP for {source}

{tells} what embedding the CLIP of '{facts["clip"]}' may give a picture
of a sentence; a decoder draws pictures of {config.decoder.size} pixels from that embedding and the sentence, which a
frozen language model ({facts["reader"]}) reads{enlarged}. After
"Hierarchical Text-Conditional Image Generation with CLIP Latents" (arXiv 2204.06125).

    pinxit paint "a sentence" --checkpoint FOLDER
    pinxit vary PICTURE --checkpoint FOLDER

## Training

Trained from {facts["pictures"]:,} pictures of {source} and their captions, with seed {facts["seed"]}{start}; weights
are running averages, stored in {config.store}. The {config.space.components} components of the embeddings that are told
keep {facts["kept"]:.1%} of their variance. CLIP and language model are none of the weights. The command:

    {command(RECIPE, config, PRESETS, "CHECKPOINT" if start else None)}

{table(facts["stages"], SHOWN)}

The figures are squared errors: of all noise levels, of the noisier and of the cleaner half; of an autoregressive prior
nats a component, and of the first component.

## Scores

{scores(RECIPE, source, report)}

## Limits

It knows what its CLIP tells apart in the pictures of its training, and the words of its captions. Photographs of
people, places or events were not among its data unless the source above holds them.

## Licence

{licence(source)}
"""

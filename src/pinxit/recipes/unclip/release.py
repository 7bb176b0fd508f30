"""Stage checkpoint: the averaged weights of a finished run, as a folder that `recipes.unclip.open` opens."""

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
from pinxit.recipes.unclip.space_file import read_about
from pinxit.training import state as states
from pinxit.weights.checkpoint import Part

SHOWN = ("loss", "noisy", "clean", "first")


def write_checkpoint(run: UnclipRun) -> None:
    """Write RUN/checkpoint: the space, the averaged networks, fingerprints of text encoder and CLIP, a model card.

    The card has the scores of RUN/scores.json, if that is an exam's report of the same weights.
    """
    config, space = run.config, run.space
    parts = {SPACE: Part(space.config, space.state_dict(), exact=True)}
    for prior in run.priors:
        parts[prior.name] = Part(prior.parts, states.read_weights(run.path(prior.name), prior.name))
    parts[DECODER] = Part(config.decoder.network, states.read_weights(run.path(DECODER), DECODER))
    for one in run.upsamplers:
        parts[one.name] = Part(one.network, states.read_weights(run.path(one.name), one.name))
    own = {"clip": config.clip, "reader": config.text.encoder, "kept": read_about(run.path(SPACE))["kept"]}
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
    """The model card; `facts` is the checkpoint's provenance, `report` what `pinxit eval world --out` wrote."""
    config, source = run.config, run.config.data.source
    start = f", started from checkpoint {facts['started_from']}" if facts["started_from"] else ""
    # Networks that came with the checkpoint, and were not trained, come with it again.
    brought = ("upsamplers",) if start and not any(one.plan.images for one in config.upsamplers) else ()
    kinds = {one.name: "autoregressive" if one.network.buckets else "diffusion" for one in run.priors}
    priors = " and ".join(f"'{name}' ({kind})" for name, kind in kinds.items())
    predicts = f"The priors {priors} predict" if len(kinds) > 1 else f"The prior {priors} predicts"
    sizes = " and then ".join(str(one.size) for one in run.upsamplers)
    enlarged = f", and upsamplers enlarge to {sizes}" if sizes else ""
    return f"""# An unCLIP for {source}

{predicts} the embedding that the CLIP of '{facts["clip"]}' would give a picture
of a sentence; a decoder draws pictures of {config.decoder.size} pixels, conditioned on that embedding and on the
sentence, which a frozen language model ({facts["reader"]}) encodes{enlarged}. After
"Hierarchical Text-Conditional Image Generation with CLIP Latents" (arXiv 2204.06125).

    pinxit paint "a sentence" --checkpoint FOLDER
    pinxit vary PICTURE --checkpoint FOLDER

## Training

Trained from {facts["pictures"]:,} pictures of {source} and their captions, with seed {facts["seed"]}{start}; weights
are running averages, stored in {config.store}. {config.space.components} components of the embeddings are used, which
have {facts["kept"]:.1%} of their variance. CLIP and the language model are not part of the weights. The command:

    {command(RECIPE, config, PRESETS, "CHECKPOINT" if start else None, brought)}

{table(facts["stages"], SHOWN)}

The losses are squared errors, of all noise levels, of the noisier and of the cleaner half; of an autoregressive prior
they are nats a component, and nats of the first component.

## Scores

{scores(RECIPE, source, report)}

## Limits

It knows the words of its captions, and what its CLIP can tell apart in its training pictures. There were no
photographs of people, places or events among them unless the source above has some.

## Licence

{licence(source)}
"""

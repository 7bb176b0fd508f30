"""Karlo's networks as initial weights of `pinxit train unclip --init-from`."""

from __future__ import annotations

from pathlib import Path

from pinxit.config import to_dict
from pinxit.errors import CheckpointError
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.karlo.open import size_of
from pinxit.recipes.karlo.scheduler import read_picture_schedule, read_schedule
from pinxit.recipes.published import Published
from pinxit.recipes.unclip.config import PriorParts
from pinxit.weights.karlo import DECODER, PRIOR, SUPERS, load_decoder, load_prior, load_supers
from pinxit.weights.karlo_names import MEAN, NOTHING, SPREAD

RECIPE, LAYOUT = "karlo", "Karlo"


def open_karlo(folder: Path) -> Published:
    """Open the networks of a folder; the prior only if it has one. Raises CheckpointError as `open_painter` does."""
    decoder, supers = load_decoder(folder, None), load_supers(folder, None)
    size, large = size_of(folder / DECODER), size_of(folder / SUPERS[0])
    decoding = read_picture_schedule(folder / "decoder_scheduler", "learned")
    upsampling = read_picture_schedule(folder / "super_res_scheduler", "fixed")
    configs: dict[str, StageConfig | PriorParts] = {DECODER: StageConfig(size, decoder.network.config, decoding)}
    states, constants = {DECODER: decoder.network.state_dict()}, {NOTHING: decoder.nothing}
    for name, unet in zip(SUPERS, supers, strict=True):
        if size_of(folder / name) != large:
            raise CheckpointError(f"{folder}: {' and '.join(SUPERS)} must be of one size.")
        configs[name] = StageConfig(large, unet.config, upsampling, size, corrupt="blur")
        states[name] = unet.state_dict()
    if (folder / PRIOR).is_dir():
        prior, (about, _) = load_prior(folder, None), read_schedule(folder / "prior_scheduler", "x0")
        configs[PRIOR], states[PRIOR] = PriorParts(prior.network.config, about), prior.network.state_dict()
        constants |= {MEAN: prior.mean, SPREAD: prior.spread}
    settings = {"shapes": {name: to_dict(config) for name, config in configs.items()}}
    return Published(folder, RECIPE, LAYOUT, configs, states, settings, constants=constants)

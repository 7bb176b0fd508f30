"""`pinxit export`: trained networks in the formats of transformers, open_clip, diffusers and peft."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pinxit.config import from_dict
from pinxit.errors import DataError, UsageError
from pinxit.files import atomic_folder, check_empty, read_json
from pinxit.models.clip import CLIP, CLIPConfig
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.recipes.clip.presets import ClipRunConfig
from pinxit.recipes.deepfloyd.export import save_stage
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.imagen.config import ImagenConfig
from pinxit.recipes.karlo import run as karlo
from pinxit.recipes.karlo.published import RECIPE as KARLO
from pinxit.recipes.karlo.release import trained_states
from pinxit.recipes.published import fitting_of
from pinxit.recipes.warm_start import read_start
from pinxit.text.clip_tokenizer import clip_tokens
from pinxit.training import runs
from pinxit.training import state as states
from pinxit.types import Fitting
from pinxit.weights.checkpoint import open_checkpoint
from pinxit.weights.clip_export import save_open_clip, save_transformers_clip
from pinxit.weights.clip_names import hf_names
from pinxit.weights.deepfloyd_export import checked
from pinxit.weights.diffusers_unet import diffusers_names
from pinxit.weights.karlo_export import cut_additions, save_karlo
from pinxit.weights.manifest import MANIFEST
from pinxit.weights.peft_export import Pair, save_adapter
from pinxit.weights.renaming import Names
from pinxit.weights.zoo import find

if TYPE_CHECKING:
    from torch import Tensor

LIBRARIES = {
    "clip": ("transformers", "open_clip", "peft"),
    "imagen": ("diffusers", "peft"),
    "karlo": ("diffusers", "peft"),
}


@dataclass(frozen=True)
class Network:
    """One network to export."""

    name: str
    config: Any  # CLIPConfig, StageConfig
    state: Mapping[str, Tensor]
    additions: Mapping[str, Pair] = field(default_factory=dict)  # the LoRA matrices of a run with plan.lora
    whole: Sequence[str] = ()  # what of it was trained otherwise: names of weights, or its own name for all of it


@dataclass(frozen=True)
class TrainedNetworks:
    """The networks of a run or a checkpoint, with what their export needs besides."""

    recipe: str
    networks: tuple[Network, ...]
    tokens: Path  # the folder of a CLIP's tokenizer
    fitting: Fitting = field(default_factory=Fitting)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    start: Mapping[str, Any] = field(default_factory=dict)  # what the run has noted of the weights it started from

    def base(self, network: str) -> str:
        """The folder of the published weights that a LoRA run adapts; empty for those of a checkpoint."""
        folder = self.start.get("folder", "")
        return str(self.start.get("folders", {}).get(network, folder))


class _Run(TypedDict):
    recipe: str


@torch_defaults_for_loading()
def export(source: str | Path, to: str, out: str | Path) -> list[Path]:
    """Write the networks of the run or checkpoint `source` into `out` in the format of the library `to`.

    A run gives its averaged weights in float32, a checkpoint those it stores. Returns the folders written. Raises
    UsageError for a library that cannot hold networks of this recipe, or an `out` that is not empty; CheckpointError
    for a network that the library does not have.
    """
    source, out = str(source), Path(out)
    if runs.is_run_of(Path(source), KARLO):
        return _karlo(karlo.run_of(Path(source), None, None, (), "cpu", False), to, out)
    trained = _opened(source)
    _check_asked(source, trained.recipe, to, out)
    with atomic_folder(out) as folder:
        if to == "peft":
            written = _adapters(source, trained, folder)
        elif trained.recipe == "clip":
            written = [_clip(trained, to, folder)]
        else:
            written = [_stage(trained, network, folder) for network in trained.networks]
    return [out / path.relative_to(folder) for path in written]


def _check_asked(source: str, recipe: str, to: str, out: Path) -> None:
    if to not in (known := LIBRARIES[recipe]):
        message = f"{source} holds what {recipe} trains, which can be exported to {', '.join(known)}"
        raise UsageError(f"{message}, not to {to}.")
    check_empty(out)


def _karlo(run: karlo.KarloRun, to: str, out: Path) -> list[Path]:
    """All of Karlo's folder, or a peft adapter for each network that was trained with LoRA."""
    _check_asked(str(run.folder), KARLO, to, out)
    for name in run.trained:
        if not run.started(name):
            raise UsageError(f"{run.folder} has not trained {name} yet.")
    base, trained = Path(run.config.base), trained_states(run)
    adapted = {name: states.read_additions(run.path(name), name) for name in run.trained}
    if to == "peft" and not any(adapted.values()):
        raise UsageError(f"{run.folder} has no additions for peft: give a run that was trained with --lora.")
    if to == "peft":
        _say_left_out([name for one, pairs in adapted.items() for name in _trained_whole(run.folder, one, pairs)])
    with atomic_folder(out) as folder:
        if to == "diffusers":
            save_karlo(base, trained, folder)
            return [out]
        found = []
        for name, pairs in adapted.items():
            for place, (own, names) in cut_additions(name, pairs, trained[name][1]).items():
                save_adapter(own, names.__getitem__, folder / place, str(base / place))
                found.append(out / place)
    return found


def _clip(trained: TrainedNetworks, to: str, folder: Path) -> Path:
    network = trained.networks[0]
    model = CLIP(network.config)
    model.load_state_dict(network.state)
    model.fitting = trained.fitting
    save: Callable[[CLIP, Path], None] = save_transformers_clip if to == "transformers" else save_open_clip
    save(model, folder)
    tokens = clip_tokens(trained.tokens, network.config.text.vocab)
    tokens.save(folder)
    return folder


def _stage(trained: TrainedNetworks, network: Network, folder: Path) -> Path:
    save_stage(network.state, network.config, trained.sampling, folder / network.name)
    return folder / network.name


def _adapters(source: str, trained: TrainedNetworks, folder: Path) -> list[Path]:
    adapted = [network for network in trained.networks if network.additions]
    if not adapted:
        raise UsageError(f"{source} has no additions for peft: give a run that was trained with --lora.")
    _say_left_out([name for network in trained.networks for name in network.whole])
    for network in adapted:
        save_adapter(network.additions, _names(network.config), folder / network.name, trained.base(network.name))
    return [folder / network.name for network in adapted]


def _names(config: Any) -> Callable[[str], Names]:
    """A function from our weights' names to those of the library whose modules peft adapts."""
    if isinstance(config, CLIPConfig):
        if config.vision.stages:
            raise UsageError("transformers has no CLIP with a ResNet that peft could adapt.")
        return hf_names
    checked(config.unet, config.size)  # other networks have no counterpart whose modules peft could find
    return lambda ours: Names(diffusers_names(ours, config.unet))


def _opened(source: str) -> TrainedNetworks:
    folder = Path(source)
    return _run(folder) if (folder / runs.FILE).is_file() else _checkpoint(source)


def _run(folder: Path) -> TrainedNetworks:
    recipe = read_json(folder / runs.FILE, _Run, DataError)["recipe"]
    _check(recipe, str(folder))
    start = read_start(folder)
    if recipe == "clip":
        clip = runs.config_of(folder, recipe, ClipRunConfig)
        return TrainedNetworks(
            recipe, (_network(folder, "clip", clip.clip),), folder / "tokenizer", fitting=clip.fitting, start=start
        )
    config = runs.config_of(folder, recipe, ImagenConfig)
    networks = tuple(_network(folder, stage.name, stage.network) for stage in config.stages)
    return TrainedNetworks(recipe, networks, folder / "tokenizer", sampling=config.sampling, start=start)


def _network(folder: Path, name: str, config: Any) -> Network:
    if not states.exists(folder / name):
        raise UsageError(f"{folder} has not trained {name} yet.")
    weights, additions = states.read_weights(folder / name, name), states.read_additions(folder / name, name)
    return Network(name, config, weights, additions, _trained_whole(folder, name, additions))


def _trained_whole(folder: Path, name: str, additions: Mapping[str, Pair]) -> list[str]:
    """What was trained itself of a network of the run in `folder`: beside additions some weights, else all of it."""
    if additions:
        return states.read_whole(folder / name)
    return [name] if states.read_progress(folder / name).images else []


def _say_left_out(whole: Sequence[str]) -> None:
    if whole:
        what = f"left out, as they were trained whole and peft holds additions alone: {', '.join(whole)}"
        logging.getLogger("pinxit").warning("%s; another format of --to has all.", what)


def _checkpoint(source: str) -> TrainedNetworks:
    found = open_checkpoint(find(source))
    _check(found.recipe, source)
    if found.recipe == "clip":
        parts: dict[str, Any] = {"clip": found.config("clip", CLIPConfig)}
        return TrainedNetworks("clip", _stored(found, parts), found.folder, fitting=fitting_of(found))
    parts = {name: found.config(name, StageConfig) for name in found.parts if name != "text"}
    sampling = from_dict(SamplingConfig, dict(found.settings["sampling"]), f"{found.folder / MANIFEST}: sampling")
    return TrainedNetworks(found.recipe, _stored(found, parts), found.folder, sampling=sampling)


def _stored(found: Any, parts: Mapping[str, Any]) -> tuple[Network, ...]:
    return tuple(Network(name, config, found.state(name)) for name, config in parts.items())


def _check(recipe: str, source: str) -> None:
    if recipe not in LIBRARIES:
        raise UsageError(f"{source} holds what {recipe} trains; {', '.join(LIBRARIES)} can be exported.")

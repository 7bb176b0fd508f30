"""The networks of a checkpoint that are exported to ONNX: CLIP's towers, dVAE decoders, one step of every denoiser.

Left out: autoregressive models, and frozen text encoders, which their own libraries export.
Shapes: B rows, E embedding, L text positions, S pixels of a side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pinxit.config import to_dict
from pinxit.errors import CheckpointError
from pinxit.files import atomic_folder, check_empty, write_bytes, write_json
from pinxit.models.clip import CLIP
from pinxit.models.conditions import ANY
from pinxit.models.dvae import DVAE, DVAEConfig
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.models.unet import UNet
from pinxit.recipes.clip.encoder import PART, ClipEncoder, place_of
from pinxit.recipes.diffusion.config import StageConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.schedule import TIMES
from pinxit.text.clip_tokenizer import ClipTokenizer
from pinxit.weights.checkpoint import Checkpoint, open_checkpoint
from pinxit.weights.manifest import MANIFEST
from pinxit.weights.onnx_files import Network, WrittenNetwork, check_installed, write_onnx
from pinxit.weights.zoo import find, shipped

DESCRIPTION = "onnx.json"
TOKENIZER = ("tokenizer.json", "words.json", "merges.txt", "vocab.json")  # pinxit's own, or that of published CLIPs
LENGTHS = (5, 12)  # of the random texts, in turn: two of them show that the length is a free dimension


@torch_defaults_for_loading()
def export_onnx(name_or_path: str | Path, out: str | Path) -> list[WrittenNetwork]:
    """Write every network of a checkpoint, or the towers of any CLIP that `load_clip` opens, into the folder `out`.

    `out` also gets `onnx.json`, which describes inputs and outputs, and the tokenizer. Raises UsageError where
    `pinxit[onnx]` is not installed or `out` is not empty, CheckpointError where there is nothing to export, and
    PinxitError when an exported file does not compute what its network does; `out` is then left as it was.
    """
    out = Path(out)
    check_installed()
    check_empty(out)
    origin, networks = _networks(name_or_path)
    if not networks:
        raise CheckpointError(f"{name_or_path} holds no network that becomes ONNX: no CLIP, no decoder, none denoises.")
    with atomic_folder(out) as folder:
        written = [write_onnx(network, folder) for network in networks]
        about = {"of": str(name_or_path), "hash": None if isinstance(origin, ClipTokenizer) else origin.hash}
        write_json(folder / DESCRIPTION, about | {"networks": [asdict(one) for one in written]})
        if isinstance(origin, ClipTokenizer):
            origin.save(folder)
            return written
        for name in TOKENIZER:
            if (origin.folder / name).is_file():
                write_bytes(folder / name, (origin.folder / name).read_bytes())
    return written


def _networks(name_or_path: str | Path) -> tuple[Checkpoint | ClipTokenizer, list[Network]]:
    """The networks, and their checkpoint; of a CLIP of others its tokenizer, which its files need not hold."""
    ours = str(name_or_path) in shipped() or (Path(name_or_path) / MANIFEST).is_file()
    if not ours:
        model, path = ClipEncoder.open(name_or_path, "cpu").model, place_of(name_or_path)
        tokenizer = ClipTokenizer.open(path if path.is_dir() else path.parent, model.config.text.vocab)
        return tokenizer, list(_towers(model))
    checkpoint = open_checkpoint(find(name_or_path))
    return checkpoint, [network for part in checkpoint.parts for network in _of_part(checkpoint, part)]


def _of_part(checkpoint: Checkpoint, part: str) -> Iterator[Network]:
    if part == PART:
        yield from _towers(ClipEncoder.open(checkpoint.folder, "cpu").model)
    elif part == "dvae":
        dvae = DVAE(checkpoint.config(part, DVAEConfig))
        checkpoint.load_into(part, dvae)
        yield _decoder(dvae.eval().requires_grad_(False))
    elif "unet" in checkpoint.parts[part]["config"]:
        config = checkpoint.config(part, StageConfig)
        unet = UNet(config.unet)
        checkpoint.load_into(part, unet)
        yield step_of(part, unet.eval().requires_grad_(False), config)


def _towers(model: CLIP) -> Iterator[Network]:
    """Pictures float [B, 3, S, S] in [0, 1], and token ids int64 [B, L], to embeddings [B, E] of length one."""
    drawn, size, text = torch.Generator().manual_seed(0), model.config.vision.size, model.config.text

    def pictures(rows: int) -> dict[str, Tensor]:
        return {"pictures": torch.rand(rows, 3, size, size, generator=drawn)}

    def ids(rows: int) -> dict[str, Tensor]:
        words = torch.randint(0, text.vocab, (rows, text.tokens), generator=drawn)
        end = torch.randint(1, text.tokens, (rows, 1), generator=drawn)
        return {"ids": words.masked_fill(words == text.eot, 0).scatter(1, end, text.eot)}

    about = {"takes": "pictures in [0, 1]", "fitting": asdict(model.fitting), "scale": float(model.scale())}
    yield Network("clip-image", model.encode_image, model, pictures, ("vector",), {}, about)
    about = {"takes": "token ids: start, text, end, zeros", "end": text.eot}
    yield Network("clip-text", model.encode_text, model, ids, ("vector",), {}, about)


def _decoder(dvae: DVAE) -> Network:
    """Codes int64 [B, h, w] to pictures [B, 3, S, S] in [0, 1]."""
    drawn = torch.Generator().manual_seed(0)

    def codes(rows: int) -> dict[str, Tensor]:
        return {"codes": torch.randint(0, dvae.config.codes, (rows, dvae.grid, dvae.grid), generator=drawn)}

    about = {"takes": f"codes 0 to {dvae.config.codes - 1}", "gives": "pictures in [0, 1]"}
    return Network("dvae-decoder", dvae.decoded, dvae, codes, ("pictures",), {}, about)


def step_of(part: str, unet: UNet, config: StageConfig) -> Network:
    """One denoising step: x = x0 + sigma n [B, 3, S, S], sigma [B] and the conditions to the clean x0 in [-1, 1]."""
    denoiser = UNetDenoiser(unet, config.diffusion, config.size, torch.device("cpu"), autocast=False)
    shapes = config.unet.conditions((config.size, config.size))
    learned = config.diffusion.variance == "learned"
    if config.diffusion.steps:
        _ = config.diffusion.table  # cached: computed here, or the cache would keep the exporter's fake tensors

    def call(x_BCHW: Tensor, sigma_B: Tensor, *given: Tensor) -> Any:
        answer = denoiser(x_BCHW, sigma_B, dict(zip(shapes, given, strict=True)))
        return (answer.x0, answer.fraction) if learned else answer.x0

    about: Mapping[str, Any] = {
        "takes": "x = x0 + sigma n, with pictures x0 in [-1, 1]; True in a mask: there is text",
        "gives": "the clean x0" + (", and where between its bounds the log variance lies" if learned else ""),
        "diffusion": to_dict(config.diffusion),
    }
    free = {name: {1: "length"} for name in shapes if name in ("sequence", "mask")}
    outputs = ("x0", "fraction") if learned else ("x0",)
    return Network(part, call, unet, _Noisy(config.size, shapes), outputs, free, about)


class _Noisy:
    """Random inputs of a denoiser, with another length of text at every call."""

    def __init__(self, size: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.size, self.shapes, self.lengths = size, shapes, cycle(LENGTHS)
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, rows: int) -> dict[str, Tensor]:
        length = next(self.lengths)
        sigma = self._normal(rows).exp()
        inputs = {"x": self._normal(rows, 3, self.size, self.size) * sigma[:, None, None, None], "sigma": sigma}
        for name, shape in self.shapes.items():
            inputs[name] = self._normal(rows, *(length if size == ANY else size for size in shape))
        if "mask" in inputs:
            inputs["mask"] = inputs["mask"] > 0
        if "augmentation" in inputs:
            inputs["augmentation"] = TIMES * inputs["augmentation"].sigmoid()
        return inputs

    def _normal(self, *sizes: int) -> Tensor:
        return torch.randn(sizes, generator=self.generator)

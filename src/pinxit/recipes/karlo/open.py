"""Opens Karlo from a local folder in diffusers' layout: networks, schedulers, and the two towers of its CLIP.

Its published text-to-image folder has a prior but no image_encoder, its image-variation folder the other way round; a
folder with both can do both. Only safetensors and JSON are read; nothing is executed or downloaded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from pinxit.errors import CheckpointError
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.pipelines.lanes import tile_of
from pinxit.recipes.clip.encoder import ClipEncoder, ClipTokens
from pinxit.recipes.clip.ranker import AnyRanker
from pinxit.recipes.diffusion.conditions import Captions, Noising
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.denoiser import SwitchingDenoiser
from pinxit.recipes.diffusion.open import DTYPES, packed_denoiser, usual_precision
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.karlo.embedder import KarloEmbedder
from pinxit.recipes.karlo.painter import KarloPainter
from pinxit.recipes.karlo.scheduler import read_picture_schedule, read_schedule
from pinxit.recipes.ranking import CPU_PICTURES
from pinxit.recipes.unclip.config import NONE, PriorSampling
from pinxit.recipes.unclip.prior_sampler import PriorSampler
from pinxit.recipes.unclip.space import Space
from pinxit.text.clip_text import ClipText
from pinxit.text.clip_tokenizer import ClipTokenizer
from pinxit.text.encoders import TextEncoder, open_text_encoder
from pinxit.text.frozen import Precision
from pinxit.training.precision import pick_device
from pinxit.weights.json_files import json_object
from pinxit.weights.karlo import DECODER, PRIOR, PROJECTION, SUPERS, load_decoder, load_prior, load_supers
from pinxit.weights.public_clip import load_clip_in_parts
from pinxit.weights.sampled_hash import sampled_hash

DRAWING = (
    *(PRIOR, "prior_scheduler", DECODER, "decoder_scheduler", PROJECTION),
    *("text_encoder", "tokenizer", "image_encoder", "feature_extractor"),
)
"""The parts of a folder on which its pictures depend, or their order, until they are upsampled."""
SAMPLING = SamplingConfig(  # as in the published samplers
    "ancestral", 25, guidance=8.0, percentile=0.0, upsampler_steps=7, upsampler_guidance=1.0
)
IMAGINING = PriorSampling("prior", tries=1, guidance=4.0, sampler="ancestral", steps=25)


@torch_defaults_for_loading()
def open_painter(folder: str | Path, *, device: str = "auto", precision: Precision | None = None) -> KarloPainter:
    """Open a folder of Karlo, such as karlo-v1-alpha: to paint if it has a prior, to vary pictures if an image_encoder.

    `precision`: "fp32", or "bf16" in half the memory, None: "bf16" on a GPU, else "fp32". Raises CheckpointError for a
    folder that lacks a part, or whose weights or settings are not Karlo's.
    """
    place, on = Path(folder), pick_device(device)
    dtype = precision or usual_precision(on)
    decoder = load_decoder(place, DTYPES[dtype])
    reader = _reader(place, on, dtype)
    config = StageConfig(
        size_of(place / DECODER), decoder.network.config, read_picture_schedule(place / "decoder_scheduler", "learned")
    )
    if not decoder.network.config.text == reader.width == reader.pooled_width:
        problem = f"{place} reads text of width {decoder.network.config.text}"
        raise CheckpointError(f"{problem}, and its text_encoder gives {reader.width} and {reader.pooled_width}.")
    clip, captions = _sight(place, reader, device), Captions(reader)
    embedder = KarloEmbedder(reader, clip, decoder.nothing, str(folder), on)
    priors, imagining = _priors(place, embedder, dtype)
    return KarloPainter(
        packed_denoiser(decoder.network, config.diffusion, config.size, on, dtype),
        config,
        SAMPLING,
        captions,
        AnyRanker(clip),
        _upsampler(place, captions, on, dtype),
        embedder=embedder,
        priors=priors,
        imagining=imagining,
        recipe="karlo",
        name=place.resolve().name,
        provenance={"checkpoint_hash": sampled_hash(place / part for part in DRAWING)},
    )


@torch_defaults_for_loading()
def open_upsampler(
    folder: str | Path,
    *,
    device: str = "auto",
    precision: Precision | None = None,
    reader: TextEncoder | None = None,
) -> Upsampler:
    """Open the two super-resolution networks, to upsample pictures of any painter. They are not conditioned on text.

    `reader`: a painter's text encoder, to be used in place of Karlo's own. Options and errors as in `open_painter`.
    """
    place, on = Path(folder), pick_device(device)
    precision = precision or usual_precision(on)
    return _upsampler(place, Captions(reader or _reader(place, on, precision)), on, precision)


def embedder_of(place: Path, on: torch.device, precision: Precision) -> KarloEmbedder:
    """The embedder of a folder, without its networks. Raises CheckpointError as `open_painter` does."""
    reader = _reader(place, on, precision)
    return KarloEmbedder(reader, _sight(place, reader, str(on)), load_decoder(place).nothing, str(place), on)


def _upsampler(place: Path, captions: Captions, on: torch.device, precision: Precision) -> Upsampler:
    first, last = load_supers(place, DTYPES[precision])
    about, (size, other) = read_picture_schedule(place / "super_res_scheduler", "fixed"), map(size_of, _places(place))
    low = size_of(place / DECODER)
    if first.config != last.config or size != other:
        raise CheckpointError(f"{place}: {' and '.join(SUPERS)} must be of one shape.")
    config = StageConfig(size, first.config, about, low, corrupt="blur")
    both = [packed_denoiser(unet, about, size, on, precision) for unet in (first, last)]
    below = float(about.table.sigma[1])  # the second network makes only the last step
    noising = Noising(way="bicubic")
    denoiser, name = SwitchingDenoiser(both[0], both[1], below), place.resolve().name
    provenance = {"upsampler_hash": sampled_hash([*_places(place), place / "super_res_scheduler"])}
    return Upsampler(denoiser, config, SAMPLING, captions, noising=noising, name=name, provenance=provenance)


def _places(place: Path) -> list[Path]:
    return [place / name for name in SUPERS]


def _priors(
    place: Path, embedder: KarloEmbedder, precision: Precision
) -> tuple[dict[str, PriorSampler], PriorSampling]:
    """The folder's prior, if it has one, and the prior's sampling settings. Raises CheckpointError if shapes differ."""
    if not (place / PRIOR).is_dir():
        return {}, replace(IMAGINING, prior=NONE)
    loaded, on = load_prior(place, DTYPES[precision]), embedder.device
    network, (diffusion, limit) = loaded.network.to(on), read_schedule(place / "prior_scheduler", "x0")
    nothing = {name: rows for name, rows in embedder.null_conditions.items() if name != "image"}
    for name, wanted in network.config.conditions().items():
        if (found := tuple(nothing[name].shape)) != wanted:
            problem = f"its prior reads {name} of shape {list(wanted)}, and its text_encoder gives {list(found)}"
            raise CheckpointError(f"{place}: {problem}.")
    space = Space.standard(loaded.mean, loaded.spread).to(on)
    return {PRIOR: PriorSampler(network, space, diffusion, on, nothing)}, replace(IMAGINING, limit=limit)


def _reader(place: Path, on: torch.device, precision: Precision) -> TextEncoder:
    """The text tower of the folder's CLIP, with its full sequence length. Raises CheckpointError if it has none."""
    where = place / "text_encoder" / "config.json"
    if not where.is_file():
        raise CheckpointError(f"{place} has no text_encoder/config.json: give the whole folder of Karlo.")
    reader = open_text_encoder(place / "text_encoder", on, precision=precision)
    if not isinstance(reader, ClipText):
        raise CheckpointError(f"{place / 'text_encoder'} holds no text tower of a CLIP.")
    return reader


def _sight(place: Path, reader: TextEncoder, device: str) -> ClipEncoder | None:
    """The folder's CLIP with both towers, or None if it has no image tower."""
    vision = place / "image_encoder"
    if not vision.is_dir():
        return None
    clip = load_clip_in_parts(place / "text_encoder", vision, place / "feature_extractor")
    assert isinstance(reader, ClipText)
    clip.text = reader.tower  # share it, so that it is in memory once
    tokens = ClipTokens(ClipTokenizer.open(place / "tokenizer", clip.config.text.vocab), clip.config.text.tokens)
    found = ClipEncoder(clip, tokens, str(place.resolve()), device)
    found.batch = tile_of(found.device, CPU_PICTURES)  # the engine ranks a few candidates a call
    return found


def size_of(folder: Path) -> int:
    """The side of a network's pictures in pixels, by its config.json. Raises CheckpointError if it is not there."""
    size = json_object(folder / "config.json").get("sample_size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise CheckpointError(f"{folder / 'config.json'}: sample_size is {size}; it must be the pixels of a side.")
    return size

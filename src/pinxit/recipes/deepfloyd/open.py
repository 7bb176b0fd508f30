"""Opens DeepFloyd IF from local folders in diffusers' layout: unet, scheduler, text_encoder, tokenizer.

Only safetensors and JSON are read; nothing is executed or downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pinxit.errors import CheckpointError
from pinxit.functional.guidance import Thresholding
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.models.unet import UNet
from pinxit.recipes.clip.ranker import AnyRanker
from pinxit.recipes.deepfloyd.reading import CleanCaptions
from pinxit.recipes.deepfloyd.scheduler import read_noising, read_schedule
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.denoiser import UNetDenoiser
from pinxit.recipes.diffusion.open import DTYPES, packed_denoiser, usual_precision
from pinxit.recipes.diffusion.schedule import DiffusionConfig
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.text.encoders import TextEncoder, open_text_encoder, place_of
from pinxit.text.frozen import EncoderOptions, FrozenEncoder, Precision
from pinxit.training.precision import pick_device
from pinxit.weights.deepfloyd import load_deepfloyd
from pinxit.weights.diffusers_unet import reading
from pinxit.weights.json_files import json_object
from pinxit.weights.sampled_hash import sampled_hash

TEXT_TOKENS = 77  # the length of its text sequences in training
PARTS = ("unet", "scheduler", "image_noising_scheduler")
FOLDERS = {3: "stage I", 6: "stage II"}  # by the input channels of the unet
SCALE = 4  # stage II's pictures have 4 times the side of stage I's
BASE = SamplingConfig("ancestral", 100, guidance=7.0)  # as in the published samplers
LARGE = SamplingConfig("ancestral", upsampler_steps=50, upsampler_guidance=4.0, augmentation=0.25)


@torch_defaults_for_loading()
def open_painter(
    folder: str | Path,
    *,
    upsampler: str | Path | None = None,
    text: str | Path | None = None,
    clip: str | Path | None = None,
    device: str = "auto",
    precision: Precision | None = None,
) -> ImagenPainter:
    """Open a stage I folder, such as DeepFloyd/IF-I-XL-v1.0, to paint; with `upsampler`, a stage II folder too.

    `text`: the T5 encoder, if the folder has none or another one is to be used (as `text.encoders.open_text_encoder`
    takes it); `clip`: the CLIP that ranks candidates (as `pinxit.load_clip` takes it), None: no ranking; `precision`:
    "fp32", or "bf16" in half the memory, None: "bf16" on a GPU, else "fp32".
    Raises CheckpointError for a folder without a unet or a text encoder, of the other stage, or with scheduler settings
    that are not DeepFloyd IF's, and for a stage II that cannot enlarge pictures of stage I's size.
    """
    place, on = Path(folder), pick_device(device)
    precision = precision or usual_precision(on)
    base = StageFolder.read(place, 3)
    enlarger = StageFolder.read(Path(upsampler), 6) if upsampler is not None else None
    if enlarger is not None:
        enlarger.check_below(base)
    captions = _captions(place, text, on, precision)
    denoiser = base.denoiser(captions, on, precision)
    second = enlarger.upsampler(captions, on, precision, _text_folders(place, text)) if enlarger is not None else None
    sampling = base.sampling
    return ImagenPainter(
        denoiser,
        base.config(denoiser.unet),
        sampling,
        captions,
        AnyRanker.open(clip, device) if clip is not None else AnyRanker(None),
        second,
        recipe="deepfloyd",
        name=place.resolve().name,
        provenance={"checkpoint_hash": base.hash(_text_folders(place, text))},
    )


@torch_defaults_for_loading()
def open_upsampler(
    folder: str | Path,
    *,
    text: str | Path | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    reader: TextEncoder | None = None,
) -> Upsampler:
    """Open a stage II folder, such as DeepFloyd/IF-II-L-v1.0, to upsample pictures of any painter.

    `reader`: an open text encoder, such as stage I's, which is reused if the folder has the same one or none, so that
    its 4.8 billion parameters are in memory once. Other options and errors as in `open_painter`.
    """
    place, on = Path(folder), pick_device(device)
    precision = precision or usual_precision(on)
    stage = StageFolder.read(place, 6)
    return stage.upsampler(_captions(place, text, on, precision, reader), on, precision, _text_folders(place, text))


@dataclass(frozen=True)
class StageFolder:
    """A stage's folder whose settings have been read and checked, but not its weights."""

    folder: Path
    size: int
    diffusion: DiffusionConfig
    thresholding: Thresholding

    @classmethod
    def read(cls, folder: Path, channels: int) -> StageFolder:
        where = folder / "unet" / "config.json"
        if not where.is_file():
            raise CheckpointError(f"{folder} holds no DeepFloyd IF: it has no unet/config.json.")
        settings = json_object(where)
        with reading(where):
            stage, expected = FOLDERS.get(settings.get("in_channels", 0)), FOLDERS[channels]
        if stage not in (None, expected):
            raise CheckpointError(
                f"{folder} holds DeepFloyd IF's {stage} (unet/config.json says so): give its {expected} here."
            )
        if settings.get("out_channels") != 6:
            raise CheckpointError(f"{where}: out_channels is {settings.get('out_channels')}; DeepFloyd IF has 6.")
        return cls(folder, _size(settings, where), *read_schedule(folder / "scheduler"))

    def check_below(self, base: StageFolder) -> None:
        """Raise CheckpointError unless this stage II takes pictures of the size that the stage I `base` draws."""
        low = self.size // SCALE
        if not low <= base.size < self.size:
            takes = f"{self.folder} enlarges pictures of at least {low} px and less than {self.size}"
            raise CheckpointError(f"{takes}, and {base.folder} draws them of {base.size}: give stages of one family.")

    def config(self, unet: UNet) -> StageConfig:
        """The stage's training config. Stage II's low-resolution inputs are noised on the schedule in its folder."""
        if not unet.config.low_res:
            return StageConfig(self.size, unet.config, self.diffusion)
        steps = read_noising(self.folder / "image_noising_scheduler").steps
        return StageConfig(self.size, unet.config, self.diffusion, self.size // SCALE, noised=steps)

    @property
    def sampling(self) -> SamplingConfig:
        """Stage I's sampling settings: the published ones, with the thresholding in its folder."""
        about, dynamic = self.thresholding, self.thresholding.kind == "dynamic"
        return replace(
            BASE, percentile=about.percentile if dynamic else 0.0, max_threshold=about.max_threshold if dynamic else 0.0
        )

    def denoiser(self, captions: CleanCaptions, on: torch.device, precision: Precision) -> UNetDenoiser:
        unet, reader = load_deepfloyd(self.folder, DTYPES[precision]), captions.encoder
        if unet.config.text != reader.width:
            reason = f"{self.folder} reads text of width {unet.config.text}"
            raise CheckpointError(f"{reason}, and {reader.name} gives {reader.width}: give its T5 as text.")
        return packed_denoiser(unet, self.diffusion, self.size, on, precision)

    def hash(self, text: Sequence[Path]) -> str:
        """Twelve hex digits of its network and schedules, and of the text encoder in these folders (`sampled_hash`)."""
        return sampled_hash([*(self.folder / part for part in PARTS), *text])

    def upsampler(
        self, captions: CleanCaptions, on: torch.device, precision: Precision, text: Sequence[Path]
    ) -> Upsampler:
        denoiser = self.denoiser(captions, on, precision)
        return Upsampler(
            denoiser,
            self.config(denoiser.unet),
            LARGE,
            captions,
            thresholding=self.thresholding,
            name=self.folder.resolve().name,
            provenance={"upsampler_hash": self.hash(text)},
        )


def _size(settings: dict[str, Any], where: Path) -> int:
    size = settings.get("sample_size")
    if not isinstance(size, int) or size < SCALE or size % SCALE:
        raise CheckpointError(f"{where}: sample_size is {size}; it must be the pixels of a side, such as 64 or 256.")
    return size


def _text_folders(folder: Path, text: str | Path | None) -> list[Path]:
    """The folders of the text encoder and its tokenizer, as `_captions` takes them; none for one that is not here."""
    place = folder if text is None else place_of(text)[0]
    parts = [place / "text_encoder", place / "tokenizer"]
    return parts if text is None or parts[0].is_dir() else [place, place.parent / "tokenizer"]


def _captions(
    folder: Path, text: str | Path | None, on: torch.device, precision: Precision, known: TextEncoder | None = None
) -> CleanCaptions:
    if text is not None or (folder / "text_encoder" / "config.json").is_file():
        place = folder if text is None else text
        return CleanCaptions(open_text_encoder(place, on, TEXT_TOKENS, precision, padded=True, known=known))
    if isinstance(known, FrozenEncoder) and known.runs(EncoderOptions(TEXT_TOKENS, on, precision, padded=True)):
        return CleanCaptions(known)
    raise CheckpointError(f"{folder} has no text_encoder: give the folder of its T5 encoder as text.")

"""Upsampling: any small picture and its caption to a large picture (Imagen, section 2.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.config import to_dict
from pinxit.data.transforms import square_crop, to_pictures, to_tensor
from pinxit.errors import UsageError
from pinxit.functional.guidance import Thresholding
from pinxit.functional.sampling import normals
from pinxit.models.torch_defaults import torch_defaults_for_loading
from pinxit.pipelines.denoise import Denoiser, DenoiseRequest, DenoiseWorker
from pinxit.pipelines.engine import Engine
from pinxit.pipelines.graph import Graph, Stage
from pinxit.pipelines.lanes import Lanes
from pinxit.pipelines.work import Job
from pinxit.pipelines.worker import FunctionWorker, ParallelExecutor
from pinxit.recipes.diffusion.conditions import Captions, Conditions, Noising, noising_of
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.window import Window, nothing_kept
from pinxit.recipes.jobs import PREVIEWS, Watch, run_jobs
from pinxit.recipes.requests import PaintRequest
from pinxit.schema import checked, plain_number
from pinxit.types import Prompt, check_pixels

if TYPE_CHECKING:
    from pinxit.text.encoders import TextEncoder
    from pinxit.types import Picture, Ranked

CPU_ROWS, GPU_ROWS = 1, 4  # rows of a call (measured: docs/log.md)
SETTINGS = ("augmentation", "upsampler_steps", "upsampler_guidance")


class Upsampler:
    """Enlarges pictures of `low` pixels to `size`; smaller ones first pass the upsampler `before` it in the cascade.

    Open one with `pinxit.load_upsampler`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        config: StageConfig,
        sampling: SamplingConfig,
        captions: Captions,
        *,
        tile: int | None = None,
        noising: Noising | None = None,
        thresholding: Thresholding | None = None,
        before: Upsampler | None = None,
        name: str = "imagen",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """`tile`: rows of a call (None: the device's default).

        `noising`: of smaller pictures (None: as the config says); `thresholding`: None clips to [-1, 1].

        `name`: its checkpoint's; `provenance`: further metadata about it.
        """
        self.denoiser, self.config, self.sampling, self.captions = denoiser, config, sampling, captions
        self.tile = tile or (CPU_ROWS if denoiser.device.type == "cpu" else GPU_ROWS)
        self.noising, self.thresholding = noising or noising_of(config), thresholding or Thresholding()
        self.low, self.size, self.before = config.low, config.size, before
        self.stage: int = 1 if before is None else before.stage + 1  # in the cascade: each draws noise of its own
        self._reading, self._known = Lock(), dict[str, tuple[Conditions, Conditions]]()
        self.name, self.provenance = name, {"upsampler": name} | dict(provenance or {})

    @property
    def reader(self) -> TextEncoder:
        """The text encoder of its captions."""
        return self.captions.encoder

    @property
    def facts(self) -> dict[str, Any]:
        """The metadata about enlarging: by which checkpoint, with which settings."""
        return {"upscale": self.size, "upsampler_sampler": self.sampling.sampler} | self.defaults | self.provenance

    @property
    def defaults(self) -> dict[str, Any]:
        """Its settings, with their present values; without `augmentation` where nothing is noised."""
        names = [name for name in SETTINGS if name != "augmentation" or self._noised]
        return {name: getattr(self.sampling, name) for name in names}

    @property
    def _noised(self) -> bool:
        """Whether any upsampler of its chain was trained on noised smaller pictures."""
        return any(one.config.corrupt == "noise" for one in self.chain)

    def tuned(self, given: Mapping[str, Any]) -> SamplingConfig:
        """Its sampling settings, overridden by those of `given` that are settings of an upsampler.

        Raises UsageError for one of the wrong type, out of range, or for more noise than there was in training.
        """
        own = {name: plain_number(given[name]) for name in self.defaults if name in given}
        about = checked(SamplingConfig, to_dict(self.sampling) | own)
        for one in self.chain:
            one.config.check_augmentation(about.augmentation)
        return about

    def tune(self, given: Mapping[str, Any]) -> None:
        """Use `tuned` settings for its whole chain from now on."""
        about = self.tuned(given)
        for one in self.chain:
            one.sampling = about

    @property
    def chain(self) -> list[Upsampler]:
        """All upsamplers of the cascade up to this one, which is the last."""
        return [*(self.before.chain if self.before else ()), self]

    def for_size(self, size: int) -> Upsampler:
        """The one of its chain that makes pictures of `size` px. Raises UsageError when none does."""
        stage = next((one for one in self.chain if one.size == size), None)
        if stage is None:
            sizes = " or ".join(str(one.size) for one in self.chain)
            raise UsageError(f"--upscale {size}: this upsampler makes pictures of {sizes} px.")
        return stage

    def check_size(self, width: int, height: int) -> None:
        """Raise UsageError for pictures that it cannot enlarge.

        It takes any square from the least `low` of its chain to less than `size`; sizes between those of two networks
        are first reduced to what the larger network takes.
        """
        low = self.chain[0].low
        if not low <= width == height < self.size:
            takes = f"square pictures of at least {low} px and less than {self.size}"
            raise UsageError(f"the upsampler takes {takes}, not {width} x {height}.")

    def enlarge(
        self,
        prompt: str,
        ranked: Sequence[Ranked],
        watch: Watch | None = None,
        previews: float = PREVIEWS,
        window: Window | None = None,
    ) -> list[Ranked]:
        """The same pictures at `size`, with their seeds, candidates and scores.

        `watch` gets the progress, with previews every `previews` seconds. `window`: what is known of the picture at its
        full size. Raises UsageError for a picture that is not square, smaller than `low`, or as large as `size`, and
        for more augmentation than there was in training.
        """
        check_pixels(*(one.picture for one in ranked))
        for one in ranked:
            height, width = one.picture.shape[:2]
            self.check_size(width, height)
        starts = [(self.route(len(one.picture)), one) for one in ranked]
        asked = PaintRequest(Prompt(prompt), more=window)
        (enlarged,) = run_jobs(self._engine, [Job(starts, request=asked)], watch, previews)
        return enlarged

    @cached_property
    @torch_defaults_for_loading()
    def graph(self) -> Graph:
        """Its stages, and the route `enlarge` through all of them, from a `Ranked` picture to the same at `size`."""
        lanes = Lanes(self.denoiser.device)
        stages = [stage for one in self.chain for stage in one._stages(lanes)]
        return Graph(stages, {"enlarge": self.route(self.chain[0].low)})

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.graph)

    @property
    def _names(self) -> tuple[str, str]:
        return f"{self.name}/low{self.size}", f"{self.name}/up{self.size}"

    def route(self, size: int) -> list[str]:
        """The stages of `graph` that a picture of `size` px passes: it skips networks for smaller ones."""
        first = next(one for one in reversed(self.chain) if one.low <= size or one.before is None)
        return [name for one in self.chain if one.size >= first.size for name in one._names]

    def _stages(self, lanes: ParallelExecutor) -> list[Stage]:
        low, up = self._names
        smaller = FunctionWorker(
            lambda items: [self._request(item.job.request, item.value) for item in items], lanes=lanes
        )
        worker = DenoiseWorker(self.denoiser, self.tile, lanes, as_enlarged)
        return [Stage(low, smaller), Stage(up, worker, weight=1.0)]

    def _request(self, asked: PaintRequest, one: Ranked) -> DenoiseRequest:
        (conditions, null), about, config = self._read(asked.prompt.text), self.sampling, self.config
        config.check_augmentation(about.augmentation)
        low = {**self._smaller(one), **masked(config, asked.more)}
        return DenoiseRequest(
            config.accepted({**low, **conditions}),
            config.accepted({**low, **null}),
            tuple(config.diffusion.even_sigmas(about.upsampler_steps)),
            about.sampler,
            one.seed,
            one.candidate,
            self.stage,
            about.upsampler_guidance,
            self.thresholding,
            about=(one, asked.more if isinstance(asked.more, Window) else None),
        )

    def _read(self, prompt: str) -> tuple[Conditions, Conditions]:
        """The prompt's conditions, computed once for all its pictures, which come one after the other."""
        with self._reading:
            if prompt not in self._known:
                self._known = {prompt: self.captions(prompt)}
            return self._known[prompt]

    def _smaller(self, one: Ranked) -> Conditions:
        """The conditions `low_res` and `augmentation` of a picture, whose noise depends on its seed and candidate."""
        small = to_tensor(square_crop(one.picture, self.low, "area")[None]) * 2 - 1
        if self.config.corrupt != "noise":
            return {name: rows[0] for name, rows in self.noising.plain(small, self.size).items()}
        noise = next(normals(one.seed, one.candidate, -self.stage, (3, self.size, self.size)))
        level = torch.full((1,), self.sampling.augmentation)
        return {name: rows[0] for name, rows in self.noising(small, level, noise[None]).items()}


def masked(config: StageConfig, more: Any) -> Conditions:
    """The condition `masked` of a network that paints inside holes: the job's window, or all hole; {} for others."""
    if not config.unet.masked:
        return {}
    return more.conditions(config.size) if isinstance(more, Window) else nothing_kept(config.size)


def as_enlarged(request: DenoiseRequest, x0: Tensor) -> Ranked:
    """The enlarged picture of a finished sample, or of a predicted one for a preview; kept pixels are pasted back."""
    one: Ranked
    window: Window | None
    (one, window), picture = request.about, as_picture(x0)
    return replace(one, picture=picture if window is None else window.at(len(picture)).pasted(picture))


def as_picture(x0: Tensor) -> Picture:
    """A sample [3, S, S] in [-1, 1] as a picture."""
    (picture,) = to_pictures((x0[None].cpu() + 1) / 2)
    return picture

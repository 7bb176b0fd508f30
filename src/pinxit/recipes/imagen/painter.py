"""Imagen paints: text -> frozen reader -> 64 px out of noise -> ranked by CLIP; the kept ones may be enlarged.

Every machine here has fixed shapes and independent slots, so candidate k of seed s is the same picture, bit for bit,
whatever else is painted beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from pinxit import __version__
from pinxit.data.transforms import to_pictures
from pinxit.errors import UsageError
from pinxit.functional.diffusion import Schedule, even_sigmas, karras_sigmas, sigma_at
from pinxit.functional.samplers import SAMPLERS
from pinxit.pipelines.denoise import Denoiser, DenoiseRequest, DenoiseStepper, Thresholding
from pinxit.pipelines.stepper import run
from pinxit.recipes.imagen.conditions import texts
from pinxit.recipes.imagen.presets import Grid, SamplingConfig, StageConfig
from pinxit.recipes.imagen.upsampler import Upsampler
from pinxit.recipes.painting import Progress, Ranker, Watch, check_asked
from pinxit.text.encoders import TextEncoder
from pinxit.types import Prompt, Ranked

if TYPE_CHECKING:
    from pinxit.types import Picture

SLOTS = 16  # pictures drawn at once; a change changes nothing but speed and, in the last bits, the pictures
MOST_STEPS = 1000
KARRAS_FIRST = 80.0  # where Karras et al. begin (EDM, table 1): as good as pure noise
SETTINGS = ("guidance", "steps", "sampler", "grid", "percentile")


class ImagenPainter:
    """A loaded Imagen. Open one with `pinxit.load`."""

    def __init__(
        self,
        denoiser: Denoiser,
        config: StageConfig,
        sampling: SamplingConfig,
        reader: TextEncoder,
        ranker: Ranker,
        upsampler: Upsampler | None = None,
        *,
        name: str = "imagen",
        provenance: dict[str, Any] | None = None,
        slots: int = SLOTS,
    ) -> None:
        self.denoiser, self.config, self.reader, self.ranker = denoiser, config, reader, ranker
        self.upsampler, self.name, self.slots = upsampler, name, slots
        self.size, self.text_tokens = config.size, reader.length
        self.defaults: dict[str, Any] = {key: getattr(sampling, key) for key in SETTINGS}
        self.provenance = {"recipe": "imagen", "checkpoint": name, "pinxit": __version__} | (provenance or {})
        self._steppers: dict[bool, DenoiseStepper] = {}

    def tokens_over_limit(self, text: str) -> int:
        """How many tokens of the prompt will be dropped; 0 when it fits."""
        return self.reader.tokens_over_limit(text)

    def unknown_words(self, text: str) -> list[str]:
        """None: a language model has an idea of every word."""
        return []

    def paint(
        self,
        prompt: str,
        *,
        candidates: int = 16,
        keep: int | None = 4,
        seed: int = 0,
        watch: Watch | None = None,
        **settings: Any,
    ) -> list[Ranked]:
        """Draw `candidates` pictures of `prompt`, best first by CLIP, and keep `keep` of them (None: all).

        `settings`: guidance (1: none), steps, sampler, grid (even, karras), percentile (of dynamic thresholding, 0:
        static); what is left out is the checkpoint's. Raises UsageError for an empty prompt or a setting out of range.
        """
        return self.paint_many([Prompt(prompt, seed)], candidates=candidates, keep=keep, watch=watch, **settings)[0]

    def paint_many(
        self,
        prompts: Iterable[Prompt | tuple[str, int]],
        *,
        candidates: int = 16,
        keep: int | None = 4,
        watch: Watch | None = None,
        **settings: Any,
    ) -> list[list[Ranked]]:
        """`paint` for many (text, seed) with the slots kept full; one list a prompt, in their order."""
        asked = [prompt if isinstance(prompt, Prompt) else Prompt(*prompt) for prompt in prompts]
        given = {name: value for name, value in settings.items() if value is not None}
        requests = [self._requests(prompt, candidates, given) for prompt in asked]
        results = self._draw([one for group in requests for one in group], watch)
        pictures = self._pictures(results)
        painted = []
        for index, prompt in enumerate(asked):
            mine = slice(index * candidates, (index + 1) * candidates)
            painted.append(self.ranker.ranked(prompt.text, prompt.seed, pictures[mine])[:keep])
        return painted

    def _requests(self, prompt: Prompt, candidates: int, given: dict[str, Any]) -> list[DenoiseRequest]:
        check_asked(prompt.text, candidates, given, self.defaults)
        about = self.defaults | given
        check_settings(about)
        conditions = {name: rows[0] for name, rows in texts(self.reader, [prompt.text]).items()}
        null = conditions | {"mask": torch.zeros_like(conditions["mask"])}
        sigmas = levels(about["grid"], self.config.diffusion.schedule, about["steps"])
        return [
            DenoiseRequest(
                conditions,
                null,
                sigmas,
                about["sampler"],
                prompt.seed,
                candidate,
                guidance=about["guidance"],
                thresholding=Thresholding(about["percentile"]),
            )
            for candidate in range(candidates)
        ]

    def _draw(self, requests: Sequence[DenoiseRequest], watch: Watch | None) -> list[Tensor]:
        guided = any(one.guidance != 1 for one in requests)
        if guided not in self._steppers:
            self._steppers[guided] = DenoiseStepper(self.denoiser, self.slots, guided)
        stepper, started = self._steppers[guided], 0

        def look(at_work: dict[int, int]) -> None:
            nonlocal started
            assert watch is not None
            started = max(started, *(number + 1 for number in at_work.values()), 0)
            share = (started - len(at_work) + sum(map(stepper.progress, at_work))) / len(requests)
            watch(Progress(share, lambda: self._pictures([stepper.partial(slot) for slot in at_work])))

        return run(stepper, requests, look if watch is not None else None)

    def _pictures(self, results: Sequence[Tensor]) -> list[Picture]:
        return list(to_pictures((torch.stack(list(results)).cpu() + 1) / 2)) if results else []


def levels(grid: Grid, schedule: Schedule, steps: int) -> tuple[float, ...]:
    """The noise levels of `steps` steps of a schedule, the last one 0."""
    if grid == "karras":
        return tuple(karras_sigmas(steps, float(sigma_at(schedule, 0.0)), KARRAS_FIRST))
    return tuple(even_sigmas(schedule, steps))


def check_settings(about: dict[str, Any]) -> None:
    """Raise UsageError for a setting that no picture can be drawn with."""
    if about.get("grid", "even") not in get_args(Grid):
        raise UsageError(f"there is no grid '{about['grid']}'; choose from {', '.join(get_args(Grid))}.")
    if about["sampler"] not in SAMPLERS:
        raise UsageError(f"there is no sampler '{about['sampler']}'; choose from {', '.join(SAMPLERS)}.")
    if about["guidance"] < 0:
        raise UsageError(f"guidance must not be negative, and {about['guidance']} is.")
    if not 1 <= about["steps"] <= MOST_STEPS:
        raise UsageError(f"steps must be from 1 to {MOST_STEPS}, as many as the schedule has, not {about['steps']}.")
    if not 0 <= about["percentile"] <= 1:
        raise UsageError(f"percentile must be from 0 to 1, not {about['percentile']}.")

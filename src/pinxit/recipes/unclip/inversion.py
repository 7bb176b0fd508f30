"""Pictures as latents, and back: what a CLIP sees in one, and the noise that the decoder draws the rest from.

Hierarchical Text-Conditional Image Generation (unCLIP, arXiv 2204.06125), section 3. Both ways are walked by
deterministic DDIM without guidance and without clipping, which could not be undone. No caption is told.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pinxit.errors import UsageError
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.pipelines.work import Job
from pinxit.recipes.diffusion.painter import SETTINGS, DiffusionPainter
from pinxit.recipes.jobs import PREVIEWS, PaintProgress, Watch, run_jobs
from pinxit.recipes.unclip.blending import from_noise, inverting, sigmas
from pinxit.recipes.unclip.embedder import Embeds
from pinxit.recipes.unclip.graph import Parts
from pinxit.types import Latent

if TYPE_CHECKING:
    from pinxit.types import Picture

STEPS = 100  # of DDIM, there and back
DECODING = tuple(name for name in SETTINGS if name != "agreement")  # what a walk from fresh noise hangs on


class Inversion(DiffusionPainter):
    """The part of an `UnclipPainter` that finds latents and draws them. Any picture does; of its centre square.

    `watch` and `previews` as in `paint_each`; `ddim_steps` there, and as many back.
    """

    embedder: Embeds

    @property
    @abstractmethod
    def parts(self) -> Parts:
        """What draws."""

    def invert(
        self, pictures: Sequence[Picture], *, ddim_steps: int = STEPS, watch: Watch | None = None
    ) -> list[Latent]:
        """What CLIP sees in each, and the noise from which DDIM of as many steps draws it again."""
        embeddings = self.embedder.pictures(pictures)
        requests = [
            inverting(self.parts, self.defaults, z_E, picture, ddim_steps)
            for z_E, picture in zip(embeddings, pictures, strict=True)
        ]
        noises = self._run("invert", requests, watch)
        return [Latent(z_E, noise) for z_E, noise in zip(embeddings, noises, strict=True)]

    def decode(
        self,
        latents: Sequence[Latent],
        *,
        ddim_steps: int = STEPS,
        eta: float = 0.0,
        seed: int = 0,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
    ) -> list[Picture]:
        """The pictures of latents. With eta above 0 fresh noise is added on the way: the same picture less exactly."""
        parts, settings, grid = self.parts, self.defaults, sigmas(self.parts, ddim_steps)
        walks = [from_noise(parts, settings, one.embedding, one.noise, grid) for one in latents]
        requests = [replace(one, options={"eta": eta}, seed=seed, candidate=place) for place, one in enumerate(walks)]
        return self._drawn(requests, watch, previews)

    def drawing(self, given: Mapping[str, Any], *, own_noise: bool) -> dict[str, Any]:
        """The settings that pictures drawn anew depend on, those given in place of its own: the decoder's alone.

        `own_noise`: they begin at the noise behind a picture, and depend on no setting. Raises UsageError as `settled`
        does, and for a setting that would change nothing.
        """
        about, kept = self.settled(given), () if own_noise else DECODING
        if idle := [name for name, value in given.items() if value is not None and name not in kept]:
            start = "a picture's own noise, by DDIM" if own_noise else "what is seen in one, without a caption"
            raise UsageError(f"{idle[0]} changes nothing in what is drawn from {start}: leave it out.")
        return {name: value for name, value in about.items() if name in kept}

    def _drawn(
        self, requests: Sequence[DenoiseRequest], watch: Watch | None, previews: float = PREVIEWS
    ) -> list[Picture]:
        return [one.picture for one in self._run("draw", requests, watch, previews)]

    def _run(
        self, route: str, requests: Sequence[DenoiseRequest], watch: Watch | None, previews: float = PREVIEWS
    ) -> list[Any]:
        job = Job([(self.graph.routes[route], one) for one in requests])
        (results,) = run_jobs(self._engine, [job], watch, previews)
        return results


def part_of(watch: Watch | None, start: float, end: float) -> Watch | None:
    """Who watches a part of the work, from one share of it to another."""
    if watch is None:
        return None
    hear = watch
    return lambda done: hear(PaintProgress(start + (end - start) * done.share, done.preview))

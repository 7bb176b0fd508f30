"""Pictures to latents and back: the CLIP embedding, and the noise x_T from which the decoder reconstructs the picture.

Hierarchical Text-Conditional Image Generation (unCLIP, arXiv 2204.06125), section 3. Both directions are deterministic
DDIM without caption, without guidance and without clipping, which is not invertible.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from pinxit.errors import UsageError
from pinxit.models.torch_defaults import torch_defaults
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.pipelines.work import Job
from pinxit.recipes.diffusion.painter import SETTINGS, DiffusionPainter
from pinxit.recipes.jobs import PREVIEWS, PaintProgress, Watch, run_jobs
from pinxit.recipes.unclip.blending import ddim_request, inversion_request, sigmas
from pinxit.recipes.unclip.embedder import Embeds
from pinxit.recipes.unclip.graph import Parts
from pinxit.schema import Seed, checked, plain_number
from pinxit.types import Latent, check_pixels

if TYPE_CHECKING:
    from pinxit.types import Picture

STEPS = 100  # of DDIM: for inversion, and for decoding
DECODER_SETTINGS = tuple(
    name for name in SETTINGS if name != "agreement"
)  # those that sampling from seeded noise depends on


class Inversion(DiffusionPainter):
    """The part of an `UnclipPainter` that inverts and decodes. Any picture will do; its centre square is used.

    `watch` and `previews` as in `paint_each`; `ddim_steps` in each direction.
    """

    embedder: Embeds

    @property
    @abstractmethod
    def parts(self) -> Parts:
        """The loaded models."""

    @torch_defaults()
    def invert(
        self, pictures: Sequence[Picture], *, ddim_steps: int = STEPS, watch: Watch | None = None
    ) -> list[Latent]:
        """The CLIP embedding of each picture, and the noise from which DDIM with as many steps reconstructs it."""
        check_pixels(*pictures)
        embeddings = self.embedder.pictures(pictures)
        requests = [
            inversion_request(self.parts, self.defaults, z_E, picture, ddim_steps)
            for z_E, picture in zip(embeddings, pictures, strict=True)
        ]
        noises = self._run("invert", requests, watch)
        return [Latent(z_E, noise) for z_E, noise in zip(embeddings, noises, strict=True)]

    @torch_defaults()
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
        """The pictures of latents. With eta above 0 fresh noise is added in every step, so that they vary."""
        parts, settings, grid = self.parts, self.defaults, sigmas(self.parts, ddim_steps)
        seed, eta = checked(Seed, plain_number(seed), "seed"), plain_number(eta)
        plain = [ddim_request(parts, settings, one.embedding, one.noise, grid) for one in latents]
        requests = [replace(one, options={"eta": eta}, seed=seed, candidate=place) for place, one in enumerate(plain)]
        return self._decode(requests, watch, previews)

    def used_settings(self, given: Mapping[str, Any], *, own_noise: bool) -> dict[str, Any]:
        """The decoder's settings that pictures depend on, defaults overridden by those given.

        `own_noise`: they start from a picture's inverted noise, and depend on none. Raises UsageError as `settled`
        does, and for a setting that would have no effect.
        """
        about, kept = self.settled(given), () if own_noise else DECODER_SETTINGS
        if idle := [name for name, value in given.items() if value is not None and name not in kept]:
            start = "a picture's inverted noise by DDIM" if own_noise else "a picture's embedding without a caption"
            raise UsageError(f"{idle[0]} has no effect on pictures drawn from {start}: leave it out.")
        return {name: value for name, value in about.items() if name in kept}

    def _decode(
        self, requests: Sequence[DenoiseRequest], watch: Watch | None, previews: float = PREVIEWS
    ) -> list[Picture]:
        return [one.picture for one in self._run("draw", requests, watch, previews)]

    def _run(
        self, route: str, requests: Sequence[DenoiseRequest], watch: Watch | None, previews: float = PREVIEWS
    ) -> list[Any]:
        job = Job([(self.graph.routes[route], one) for one in requests])
        (results,) = run_jobs(self._engine, [job], watch, previews)
        return results


@overload
def sub_progress(watch: Watch, start: float, end: float) -> Watch: ...
@overload
def sub_progress(watch: None, start: float, end: float) -> None: ...
def sub_progress(watch: Watch | None, start: float, end: float) -> Watch | None:
    """A watcher of a part of the work, from one fraction of the progress to another."""
    if watch is None:
        return None
    outer = watch
    return lambda done: outer(PaintProgress(start + (end - start) * done.share, done.preview))

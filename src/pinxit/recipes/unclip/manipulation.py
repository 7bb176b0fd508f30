"""What CLIP embeddings are good for: variations, blends, text diffs, reconstructions, inpainting.

Hierarchical Text-Conditional Image Generation (unCLIP, arXiv 2204.06125), section 3. `inversion` computes the `Latent`
of a picture and decodes it; here latents are changed in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.samplers import SAMPLERS
from pinxit.functional.vectors import shifted
from pinxit.models.torch_defaults import torch_defaults
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.recipes.diffusion.window import PositionedWindow, Window
from pinxit.recipes.jobs import PREVIEWS, Watch, collect_results
from pinxit.recipes.painting import Enlarger
from pinxit.recipes.requests import PaintRequest
from pinxit.recipes.unclip.blending import Blend, interpolate, sigmas
from pinxit.recipes.unclip.graph import SamplingStart, Variation, request
from pinxit.recipes.unclip.inversion import STEPS, Inversion, sub_progress
from pinxit.schema import Seed, checked, plain_number
from pinxit.texts import check_text, counted
from pinxit.types import Latent, Mask, Prompt, check_pixels

if TYPE_CHECKING:
    from pinxit.types import Picture, Ranked

MAX_SHIFT = 0.5  # of the rotation towards the text diff; the paper uses 0.25 to 0.5


class Manipulation(Inversion):
    """The part of an `UnclipPainter` that manipulates pictures. Any picture will do; its centre square is used.

    `watch` and `previews` as in `paint_each`; `ddim_steps` in each direction. `settings` are the painter's, for
    pictures that start from seeded noise instead of inverted noise.
    """

    def vary(self, picture: Picture, *, count: int = 4, seed: int = 0, **how: Any) -> list[Ranked]:
        """`count` variations (section 3.1), those most similar to the picture by CLIP first.

        `how` as in `vary_many`, with which more can be drawn than are kept.
        """
        return self.vary_many([(picture, seed)], count=count, **how)[0]

    @torch_defaults()
    def vary_many(
        self,
        given: Sequence[tuple[Picture, int]],
        *,
        count: int = 4,
        candidates: int | None = None,
        eta: float | None = None,
        ddim_steps: int = STEPS,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
        upsampler: Enlarger | None = None,
        **settings: Any,
    ) -> list[list[Ranked]]:
        """Variations of pictures, each with a seed: from its noise or, with `eta`, from the picture's inverted noise.

        The smaller eta, the closer to the picture. `candidates` are drawn (None: as many as `count`), of which the
        `count` most similar to the picture by CLIP are kept. Raises UsageError for less than one variation, for fewer
        candidates, and for a setting that does not exist or has no effect. `watch` gets the progress of all pictures.
        """
        count = checked(int, plain_number(count), "count")
        drawn = count if candidates is None else checked(int, plain_number(candidates), "candidates")
        if count < 1:
            raise UsageError(f"at least one variation, not {count}.")
        if drawn < count:
            raise UsageError(
                f"{count} variations cannot be the best of {counted(drawn, 'candidate')}: draw {count} or more."
            )
        self.used_settings(settings, own_noise=eta is not None)
        asked = [self.asked(Prompt("", seed), drawn, count, settings, wordless=True) for _, seed in given]
        starts: list[SamplingStart | None] = [None] * len(given)
        if eta is not None:
            eta = plain_number(eta)
            grid = sigmas(self.parts, ddim_steps)
            SAMPLERS["ddim"].check(grid, {"eta": eta})  # before the inversion, which takes a while
            first = sub_progress(watch, 0, 1 / (1 + drawn))
            latents = self.invert([picture for picture, _ in given], ddim_steps=ddim_steps, watch=first)
            watch = sub_progress(watch, 1 / (1 + drawn), 1)
            starts = [SamplingStart(one.noise, grid, options={"eta": eta}) for one in latents]
        jobs = [
            self.varying(one, picture, start) for one, (picture, _), start in zip(asked, given, starts, strict=True)
        ]
        return collect_results(lambda watch: self._serve(jobs, watch, previews, upsampler), len(jobs), watch)

    def varying(self, asked: PaintRequest, picture: Picture, start: SamplingStart | None = None) -> PaintRequest:
        """The request of `Painter.asked`, changed into one for variations of `picture`; nothing is computed."""
        check_pixels(picture)
        return replace(asked, more=Variation(picture, start), route="vary")

    def editing(self, asked: PaintRequest, picture: Picture, mask: Mask | None) -> PaintRequest:
        """The request of `Painter.asked`, changed into an edit of the centre square of `picture` at the painter's size.

        Nothing is computed. Raises UsageError without a mask, and as `edit` does, which keeps a picture's own size.
        """
        self.check_edits()
        if mask is None:
            raise UsageError(f"{self.name} repaints a part of a picture: send a mask that says which.")
        return replace(asked, more=Window.centre(picture, mask))

    @torch_defaults()
    def blend(
        self,
        one: Picture,
        other: Picture,
        *,
        count: int = 8,
        fresh: bool = False,
        seed: int = 0,
        ddim_steps: int = STEPS,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
        **settings: Any,
    ) -> list[Picture]:
        """`count` pictures from one to the other (section 3.2): embedding and noise are interpolated spherically.

        The first and the last are reconstructions. `fresh`: all start from the same noise, that of the seed.
        """
        count = _with_ends(count)
        if fresh:
            ends = self.embedder.pictures([one, other])
            shares = [place / (count - 1) for place in range(count)]
            way = [self.embedder.space.encode(interpolate(ends[0], ends[1], share)) for share in shares]
            return self._decode(self._from_seed(way, seed, settings), watch, previews)
        self.used_settings(settings, own_noise=True)
        asked = self.asked(Prompt("", seed), count, None, wordless=True)
        (found,) = self._serve([self.blending(asked, one, other, ddim_steps)], watch, previews)
        return [each.picture for each in found]

    def blending(self, asked: PaintRequest, one: Picture, other: Picture, ddim_steps: int = STEPS) -> PaintRequest:
        """The request of `Painter.asked`, changed into a blend of as many pictures as it has candidates.

        Both ends are included. Nothing is computed. Raises UsageError for less than two. No setting has an effect.
        """
        _with_ends(asked.candidates)
        check_pixels(one, other)
        return replace(asked, keep=None, more=Blend(one, other, ddim_steps), route="blend")

    @torch_defaults()
    def shift(
        self,
        picture: Picture,
        before: str,
        after: str,
        *,
        most: float = MAX_SHIFT,
        count: int = 5,
        ddim_steps: int = STEPS,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
    ) -> list[Picture]:
        """`count` pictures from this one in the direction from caption `before` to `after` (section 3.3, text diffs).

        `most`: the fraction of the rotation for the last one. The first is the reconstruction; the noise stays the
        same. Raises UsageError for captions that are empty, have equal embeddings or too many tokens, and for a
        fraction out of range.
        """
        for caption in (before, after):
            check_text(caption, "the caption")
        if not (before.strip() and after.strip()):
            raise UsageError("a caption is empty: say what the picture shows, and what it should show.")
        count, most = checked(int, plain_number(count), "count"), checked(float, plain_number(most), "most")
        if count < 2 or not 0 < most <= 1:
            raise UsageError(f"at least 2 pictures and a theta above 0 and at most 1, not {count} and {most}.")
        after_E, before_E = self.embedder.captions([after, before], cut=False)[:, None]
        shares = [most * place / (count - 1) for place in range(count)]
        shifted(after_E, after_E, before_E, 0.5)  # raises for equal captions, before anything is computed
        (own,) = self.invert([picture], ddim_steps=ddim_steps, watch=sub_progress(watch, 0, 1 / (1 + count)))
        latents = [own]
        for share in shares[1:]:
            z_E = shifted(own.embedding[None], after_E, before_E, share)[0]
            latents.append(Latent(z_E, own.noise))
        return self.decode(
            latents, ddim_steps=ddim_steps, watch=sub_progress(watch, 1 / (1 + count), 1), previews=previews
        )

    @torch_defaults()
    def reconstruct(
        self,
        picture: Picture,
        *,
        components: Sequence[int] = (),
        seed: int = 0,
        ddim_steps: int = STEPS,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
        **settings: Any,
    ) -> list[Picture]:
        """The picture, inverted and decoded; with `components`, views of its first principal components.

        Those views (section 4 and figure 7 of the paper) start from the same noise, that of the seed. Raises UsageError
        for more components than the space has.
        """
        components = checked(list[int], plain_number(list(components)), "components")
        if not components:
            self.used_settings(settings, own_noise=True)
            latents = self.invert([picture], ddim_steps=ddim_steps, watch=sub_progress(watch, 0, 0.5))
            return self.decode(latents, ddim_steps=ddim_steps, watch=sub_progress(watch, 0.5, 1), previews=previews)
        if self.embedder.space.config.kind == "standard":
            raise UsageError(f"{self.name} has no principal components: leave out components.")
        y_K = self.embedder.space.encode(self.embedder.pictures([picture])[0])
        if wrong := [kept for kept in components if not 0 <= kept <= len(y_K)]:
            raise UsageError(f"this space has {counted(len(y_K), 'component')}: {wrong[0]} cannot be kept.")
        views = [y_K * (torch.arange(len(y_K), device=y_K.device) < kept) for kept in components]
        return self._decode(self._from_seed(views, seed, settings), watch, previews)

    def edit(
        self,
        picture: Picture,
        mask: Mask,
        prompt: str,
        *,
        candidates: int = 16,
        keep: int | None = 4,
        seed: int = 0,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
        upsampler: Enlarger | None = None,
        **settings: Any,
    ) -> list[Ranked]:
        """The picture, at its own size, repainted where the mask is white so that the whole shows the prompt.

        Every other pixel stays, bit for bit. Best first by CLIP. Raises UsageError for a mask of another size or
        without white, and for a decoder that is not trained for inpainting.
        """
        self.check_edits()
        framed = PositionedWindow.of(picture, mask)
        job = replace(self.asked(Prompt(prompt, seed), candidates, keep, settings), more=framed.window)
        (edits,) = self._serve([job], watch, previews, upsampler)
        return [replace(one, picture=framed.filled(one.picture)) for one in edits]

    def check_edits(self) -> None:
        """Raise UsageError for a decoder that is not trained for inpainting."""
        if not self.config.unet.masked:
            problem = f"the decoder of {self.name} is not trained for inpainting"
            raise UsageError(f"{problem}: train one with --set decoder.unet.masked=4.")

    def _from_seed(self, coordinates: Sequence[Tensor], seed: int, settings: dict[str, Any]) -> list[DenoiseRequest]:
        """Requests that all start from the noise of the seed."""
        self.used_settings(settings, own_noise=False)
        seed = checked(Seed, plain_number(seed), "seed")
        return [request(self.parts, self.settled(settings), y_K, None, seed) for y_K in coordinates]


def _with_ends(count: int) -> int:
    count = checked(int, plain_number(count), "count")
    if count < 2:
        raise UsageError(f"a blend has at least 2 pictures, its ends, not {count}.")
    return count

"""What a picture's embedding lets one do: vary, blend, shift by words, reconstruct, paint inside a hole.

Hierarchical Text-Conditional Image Generation (unCLIP, arXiv 2204.06125), section 3. `inversion` finds the `Latent` of
a picture and draws it; here one is led elsewhere on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pinxit.errors import UsageError
from pinxit.functional.vectors import shifted
from pinxit.pipelines.denoise import DenoiseRequest
from pinxit.recipes.diffusion.window import Framed, Window
from pinxit.recipes.jobs import PREVIEWS, Watch
from pinxit.recipes.painting import Enlarger
from pinxit.recipes.requests import PaintRequest
from pinxit.recipes.unclip.blending import Blend, between, sigmas
from pinxit.recipes.unclip.graph import Start, Variation, request
from pinxit.recipes.unclip.inversion import STEPS, Inversion, part_of
from pinxit.types import Latent, Mask, Prompt

if TYPE_CHECKING:
    from pinxit.types import Picture, Ranked

MOST = 0.5  # of the way to where a caption leads; the article goes to 0.25 to 0.5


class Manipulation(Inversion):
    """The part of an `UnclipPainter` that changes pictures. Any picture does; its centre square is worked on.

    `watch` and `previews` as in `paint_each`; `ddim_steps` there, and as many back. `settings` are the painter's, for
    what is drawn from noise of a seed instead of the noise behind a picture.
    """

    def vary(self, picture: Picture, *, count: int = 4, seed: int = 0, **how: Any) -> list[Ranked]:
        """`count` other pictures in which CLIP should see the same (section 3.1); those in which it does come first.

        `how` as in `vary_many`.
        """
        return self.vary_many([(picture, seed)], count=count, **how)[0]

    def vary_many(
        self,
        given: Sequence[tuple[Picture, int]],
        *,
        count: int = 4,
        eta: float | None = None,
        ddim_steps: int = STEPS,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
        upsampler: Enlarger | None = None,
        **settings: Any,
    ) -> list[list[Ranked]]:
        """Variations of pictures, each with a seed: from its noise, with `eta` from the picture's own instead.

        The smaller eta, the closer to the picture. Raises UsageError for less than one variation, or a setting that
        there is not.
        """
        if count < 1:
            raise UsageError(f"at least one variation, not {count}.")
        self.drawing(settings, own_noise=eta is not None)
        asked = [self.asked(Prompt("", seed), count, None, settings, wordless=True) for _, seed in given]
        starts: list[Start | None] = [None] * len(given)
        if eta is not None:
            first = part_of(watch, 0, 1 / (1 + count))
            latents = self.invert([picture for picture, _ in given], ddim_steps=ddim_steps, watch=first)
            grid, watch = sigmas(self.parts, ddim_steps), part_of(watch, 1 / (1 + count), 1)
            starts = [Start(one.noise, grid, options={"eta": eta}) for one in latents]
        jobs = [
            self.varying(one, picture, start) for one, (picture, _), start in zip(asked, given, starts, strict=True)
        ]
        return list(self._serve(jobs, watch, previews, upsampler))

    def varying(self, asked: PaintRequest, picture: Picture, start: Start | None = None) -> PaintRequest:
        """What `Painter.asked` gave, as variations of `picture`; nothing is computed yet."""
        return replace(asked, more=Variation(picture, start), route="vary")

    def editing(self, asked: PaintRequest, picture: Picture, mask: Mask | None) -> PaintRequest:
        """What `Painter.asked` gave, as an edit of the centre square of `picture`, at the size that is drawn.

        Nothing is computed yet. Raises UsageError without a mask, and as `edit` does, which keeps a picture's own size.
        """
        self.check_edits()
        if mask is None:
            raise UsageError(f"{self.name} paints a part of a picture: send a mask that says which.")
        return replace(asked, more=Window.centre(picture, mask))

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
        """`count` pictures from one to the other (section 3.2): embedding and noise go along great circles.

        The first and the last are their reconstructions. `fresh`: all from one noise, that of the seed.
        """
        if fresh:
            _check_ends(count)
            ends = self.embedder.pictures([one, other])
            shares = [place / (count - 1) for place in range(count)]
            way = [self.embedder.space.into(between(ends[0], ends[1], share)) for share in shares]
            return self._drawn(self._fresh(way, seed, settings), watch, previews)
        self.drawing(settings, own_noise=True)
        asked = self.asked(Prompt("", seed), max(1, count), None, wordless=True)
        (found,) = self._serve([self.blending(asked, one, other, ddim_steps)], watch, previews)
        return [each.picture for each in found]

    def blending(self, asked: PaintRequest, one: Picture, other: Picture, ddim_steps: int = STEPS) -> PaintRequest:
        """What `Painter.asked` gave, as so many pictures (`candidates`) from one to the other, both ends included.

        Nothing is computed yet. Raises UsageError for less than two. Of the settings none plays a part.
        """
        _check_ends(asked.candidates)
        return replace(asked, keep=None, more=Blend(one, other, ddim_steps), route="blend")

    def shift(
        self,
        picture: Picture,
        before: str,
        after: str,
        *,
        most: float = MOST,
        count: int = 5,
        ddim_steps: int = STEPS,
        watch: Watch | None = None,
        previews: float = PREVIEWS,
    ) -> list[Picture]:
        """`count` pictures from this one towards what tells caption `after` from `before` (section 3.3, text diffs).

        `most`: how much of the way the last one goes. The first is the reconstruction; the noise stays. Raises
        UsageError for captions that are one to CLIP or longer than it reads, and for a share out of range.
        """
        if count < 2 or not 0 < most <= 1:
            raise UsageError(f"at least 2 pictures and a share above 0 and at most 1, not {count} and {most}.")
        towards, away = self.embedder.captions([after, before], cut=False)[:, None]
        shares = [most * place / (count - 1) for place in range(count)]
        shifted(towards, towards, away, 0.5)  # which refuses what leads nowhere before anything is computed
        (own,) = self.invert([picture], ddim_steps=ddim_steps, watch=part_of(watch, 0, 1 / (1 + count)))
        latents = [own]
        for share in shares[1:]:
            z_E = shifted(own.embedding[None], towards, away, share)[0]
            latents.append(Latent(z_E, own.noise))
        return self.decode(latents, ddim_steps=ddim_steps, watch=part_of(watch, 1 / (1 + count), 1), previews=previews)

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
        """The picture as DDIM draws it from the noise behind it; with `components`, what so many first ones hold.

        Those views (section 4 and figure 7 of the article) are drawn from one noise, that of the seed. Raises
        UsageError for more components than the space has.
        """
        if not components:
            self.drawing(settings, own_noise=True)
            latents = self.invert([picture], ddim_steps=ddim_steps, watch=part_of(watch, 0, 0.5))
            return self.decode(latents, ddim_steps=ddim_steps, watch=part_of(watch, 0.5, 1), previews=previews)
        if self.embedder.space.config.kind == "standard":
            raise UsageError(f"{self.name} knows embeddings by no principal components: leave out components.")
        y_K = self.embedder.space.into(self.embedder.pictures([picture])[0])
        if wrong := [kept for kept in components if not 0 <= kept <= len(y_K)]:
            raise UsageError(f"this space has {len(y_K)} components: {wrong[0]} cannot be kept.")
        views = [y_K * (torch.arange(len(y_K), device=y_K.device) < kept) for kept in components]
        return self._drawn(self._fresh(views, seed, settings), watch, previews)

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
        """The picture, at its own size, with what is white in the mask painted so that the whole shows the prompt.

        Every pixel outside the mask stays, bit for bit. Best first by CLIP. Raises UsageError for a mask of another
        size or that keeps everything, and for a decoder that has not learned to paint inside holes.
        """
        self.check_edits()
        framed = Framed.of(picture, mask)
        job = replace(self.asked(Prompt(prompt, seed), candidates, keep, settings), more=framed.window)
        (edits,) = self._serve([job], watch, previews, upsampler)
        return [replace(one, picture=framed.filled(one.picture)) for one in edits]

    def check_edits(self) -> None:
        """Raise UsageError for a decoder that has not learned to paint inside holes."""
        if not self.config.unet.masked:
            problem = f"the decoder of {self.name} has not learned to paint inside holes"
            raise UsageError(f"{problem}: train one with --set decoder.unet.masked=4.")

    def _fresh(self, coordinates: Sequence[Tensor], seed: int, settings: dict[str, Any]) -> list[DenoiseRequest]:
        """From one noise of the seed for all, by the painter's settings."""
        self.drawing(settings, own_noise=False)
        return [request(self.parts, self.settled(settings), y_K, None, seed) for y_K in coordinates]


def _check_ends(count: int) -> None:
    if count < 2:
        raise UsageError(f"a blend has at least its two ends, not {count} pictures.")

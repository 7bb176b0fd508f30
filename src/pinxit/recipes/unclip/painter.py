"""unCLIP as a painter: text -> embedding, from a prior -> picture, from the decoder -> ranked by CLIP, upsampled.

Rows of a batch never interact: candidate k of seed s is the same picture, bit for bit, whatever is painted beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinxit.config import to_dict
from pinxit.errors import UsageError
from pinxit.models.clip import CLIP
from pinxit.models.prior import TokenPrior
from pinxit.pipelines.denoise import Denoiser
from pinxit.pipelines.graph import Graph
from pinxit.pipelines.lanes import Lanes
from pinxit.recipes.diffusion.conditions import Captions
from pinxit.recipes.diffusion.config import SamplingConfig, StageConfig
from pinxit.recipes.diffusion.upsampler import Upsampler
from pinxit.recipes.ranking import Ranker
from pinxit.recipes.unclip import blending
from pinxit.recipes.unclip.config import NONE, PriorSampling
from pinxit.recipes.unclip.embedder import Embeds, network_of
from pinxit.recipes.unclip.graph import Parts, graph
from pinxit.recipes.unclip.manipulation import Manipulation
from pinxit.recipes.unclip.prior_sampler import PriorSampler
from pinxit.recipes.unclip.settings import OF_DIFFUSION, OF_TOKENS, PRIOR_SETTINGS, UnclipSampling

WEIGHT = "embedding_weight"


class UnclipPainter(Manipulation):
    """A loaded unCLIP. Open one with `pinxit.load`.

    Settings: those of `recipes.diffusion.painter`, for the decoder; text (whether it is conditioned on the caption
    besides the embedding); prior (its name; "none": the caption's own embedding), tries, likeness, prior_guidance,
    prior_sampler, prior_steps, prior_limit, prior_temperature, prior_top_p and embedding_weight (`PriorSampling`).
    """

    kinds: type[Any] = UnclipSampling

    def __init__(
        self,
        denoiser: Denoiser,
        config: StageConfig,
        sampling: SamplingConfig,
        captions: Captions,
        ranker: Ranker,
        upsampler: Upsampler | None = None,
        *,
        embedder: Embeds,
        priors: Mapping[str, PriorSampler],
        imagining: PriorSampling,
        recipe: str = "unclip",
        name: str = "unclip",
        provenance: dict[str, Any] | None = None,
        tile: int | None = None,
    ) -> None:
        """`imagining` names one of `priors`; the rest as in `recipes.diffusion.painter`."""
        about: dict[str, Any] = {"recipe": recipe, "name": name, "provenance": provenance, "tile": tile}
        super().__init__(denoiser, config, sampling, captions, ranker, upsampler, **about)
        self.embedder, self.priors = embedder, dict(priors)
        prior = to_dict(imagining)
        self.defaults |= {"text": True} | {mine: prior[its] for mine, its in PRIOR_SETTINGS.items()}

    @property
    def parts(self) -> Parts:
        """The loaded models."""
        return Parts(self.denoiser, self.config, self.sampling, self.embedder, self.priors, self.ranker, self.tile)

    @property
    def clip(self) -> CLIP | None:
        """The CLIP of its embeddings, whatever ranks."""
        return network_of(self.embedder)

    def settled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, those given in place of its own.

        Also raises UsageError for a prior that does not exist, and for a setting that others leave without effect.
        """
        about = super().settled(given)
        if about["prior"] not in (*self.priors, NONE):
            raise UsageError(
                f"there is no prior '{about['prior']}' here; choose from {', '.join(self.priors)}, {NONE}."
            )
        idle = {} if about["text"] else {WEIGHT: "where no caption is told (text=false)"}
        idle |= self._idle_of_prior(about["prior"])
        for name, why in idle.items():
            if given.get(name) not in (None, self.defaults[name]):
                raise UsageError(f"{name} has no effect {why}: leave it out.")
        return about

    def _idle_of_prior(self, name: str) -> dict[str, str]:
        """The settings that the prior of this name does not read, each with the reason."""
        if name == NONE:
            return {one: f"without a prior (prior={NONE})" for one in PRIOR_SETTINGS if one not in ("prior", WEIGHT)}
        if isinstance(self.priors[name].prior, TokenPrior):
            return dict.fromkeys(OF_DIFFUSION, f"on the autoregressive prior '{name}'")
        return dict.fromkeys(OF_TOKENS, f"on the diffusion prior '{name}'")

    def _graph(self) -> Graph:
        found = graph(self.parts)
        stages = [*found.stages.values(), *blending.stages(self.parts, Lanes(self.denoiser.device))]
        return Graph(stages, found.routes | {"blend": blending.ROUTE})

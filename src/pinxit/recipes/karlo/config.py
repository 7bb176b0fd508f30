"""The config of a run that fine-tunes Karlo."""

from __future__ import annotations

from dataclasses import dataclass, field

from pinxit.errors import UsageError
from pinxit.recipes.diffusion.config import DataConfig
from pinxit.schema import Count, Seed, Share, check_fields
from pinxit.training.plan import Plan


def _plan(images: int) -> Plan:
    return Plan(images, 16, lr=1e-4, warmup=1600, clip=1.0)


@dataclass(frozen=True, slots=True)
class KarloPlans:
    """The plan of each network; a network whose plan has 0 images keeps its published weights."""

    prior: Plan = field(default_factory=lambda: _plan(20_000))
    decoder: Plan = field(default_factory=lambda: _plan(20_000))
    super_res_first: Plan = field(default_factory=lambda: _plan(0))
    super_res_last: Plan = field(default_factory=lambda: _plan(0))


@dataclass(frozen=True, slots=True)
class KarloConfig:
    """A run of `pinxit train unclip --init-from KARLO`."""

    base: str  # the published folder whose networks are fine-tuned
    data: DataConfig = field(default_factory=DataConfig)
    pictures: Count = 20_000  # the most that are stored
    plans: KarloPlans = field(default_factory=KarloPlans)
    drop: Share = 0.1  # probability of the empty caption for prior and decoder (classifier-free guidance)
    drop_image: Share = 0.1  # probability of the null image embedding for the decoder (classifier-free guidance)
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self, "")
        if not self.learning:
            raise UsageError("no network has pictures to learn from: set plans.decoder.images or another plan's.")

    @property
    def learning(self) -> tuple[str, ...]:
        """The names of the networks that are trained."""
        return tuple(name for name in KarloPlans.__slots__ if getattr(self.plans, name).images)

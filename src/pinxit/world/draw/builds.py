"""How the sprites that wear clothes are built: where neck, waist and hands lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Build:
    """Where the clothes of a sprite sit, as shares of its height from the crown of the head down."""

    neck: float = 0.42
    waist: float = 0.69
    ankle: float = 0.9
    skirt: float = 0.58  # where a tutu begins
    hands: tuple[float, float] = (0.42, 0.74)
    slim: bool = False  # its hands hang beside its trousers
    turn: int = 0  # degrees that set it upright, against the clock


BUILDS: dict[str, Build] = {
    "person": Build(neck=0.25, waist=0.52, ankle=0.93, skirt=0.47, hands=(0.5, 0.58), slim=True),
    "astronaut": Build(neck=0.48, waist=0.73, skirt=0.66, hands=(0.6, 0.8)),
    "panda": Build(neck=0.49, waist=0.74, skirt=0.68, hands=(0.6, 0.8)),
    "carrot": Build(turn=45, skirt=0.5),
    "radish": Build(turn=40, skirt=0.66),
    "avocado": Build(skirt=0.64),
    "strawberry": Build(skirt=0.62),
    "pineapple": Build(skirt=0.68),
    "mushroom": Build(skirt=0.66),
}

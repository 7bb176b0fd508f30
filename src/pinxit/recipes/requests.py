"""What passes between the stages of a painter: a job's request, and candidates that are to be ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pinxit.schema import Count, checked, plain_number
from pinxit.types import Prompt

if TYPE_CHECKING:
    from pinxit.types import Picture


@dataclass(frozen=True)
class PaintRequest:
    """What a job is to paint: every stage may look it up (`Job.request`)."""

    prompt: Prompt
    candidates: int = 1
    keep: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    more: Any = None  # a recipe's own, such as the picture that is completed
    route: str = "paint"  # of the painter's graph

    def __post_init__(self) -> None:
        if self.keep is not None:
            checked(Count, plain_number(self.keep), "keep", advice="None keeps all")


@dataclass(frozen=True)
class Candidate:
    """A picture that is to be ranked."""

    picture: Picture
    bonus: float = 0.0  # added to its score
    embedding: Any = None  # CLIP's [E], after the stage `embed`

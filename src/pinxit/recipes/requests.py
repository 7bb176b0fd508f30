"""What passes between the stages of a painter: what a job is to paint, and a candidate on its way to be ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
    more: Any = None  # what one recipe alone knows, such as the picture that is completed
    route: str = "paint"  # of the painter's graph


@dataclass(frozen=True)
class Candidate:
    """A candidate on its way to be ranked."""

    picture: Picture
    bonus: float = 0.0  # added to its score
    embedding: Any = None  # by CLIP, once it has been through the stage `embed`

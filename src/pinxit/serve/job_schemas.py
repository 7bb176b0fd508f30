"""Request and response bodies of /api."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pinxit.serve.records import MAX_JOBS_PER_REQUEST
from pinxit.serve.schemas import NUMBER, Short, Size, Text

EXACT = 2**53 - 1  # the largest integer up to which JavaScript's numbers are exact
Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class JobRequest(BaseModel):
    """POST /api/jobs: pictures that are painted whether or not a client waits for them."""

    model_config = ConfigDict(extra="forbid")

    prompt: Text = ""
    recipes: Annotated[list[Short], Field(min_length=1, max_length=MAX_JOBS_PER_REQUEST)] | None = Field(
        None,
        description="A job for each painter, with the same seed: a comparison. Default: the default painter.",
    )
    kind: Literal["paint", "edit", "vary", "blend"] = "paint"
    candidates: Annotated[int, Field(ge=1), NUMBER] | None = Field(
        None, description="Pictures to draw; for a blend the steps, both ends included: 2 to 16."
    )
    keep: Annotated[int, Field(ge=1), NUMBER] | None = Field(
        None, description="How many of the best candidates to keep. Default: all."
    )
    seed: Annotated[int, Field(ge=0, le=EXACT), NUMBER] | None = Field(
        None, description="At most 2**53 - 1, so that JavaScript reads it exactly."
    )
    size: Size | None = None
    settings: dict[str, Any] = Field({}, description="Settings of the painter: guidance, temperature, steps ...")
    image: str | None = Field(
        None, description="The id of a stored picture, or a data: URL: what is edited, varied or blended."
    )
    other: str | None = Field(None, description="Likewise: the picture at which a blend ends.")
    mask: str | None = Field(None, description="A data: URL of a PNG; transparent means: paint here.")
    priority: Literal["interactive", "batch"] = "interactive"


class PictureOut(BaseModel):
    """A picture of a job."""

    id: str
    url: str
    candidate: int
    seed: int
    score: float
    starred: bool = False


class JobOut(BaseModel):
    """A job and its state."""

    id: str
    state: Literal["queued", "done", "failed", "cancelled"]
    created: float
    ended: float | None = None
    recipe: str
    kind: str
    prompt: str
    seed: int
    candidates: int
    keep: int
    size: int
    settings: dict[str, Any] = {}
    group: str | None = None
    image: str | None = None
    other: str | None = None
    starred: bool = False
    error: str | None = None
    share: float = 0.0
    ahead: int = 0
    seconds_left: float | None = None
    warnings: list[str] = []
    pictures: list[PictureOut] = []


class JobsOut(BaseModel):
    """Jobs."""

    jobs: list[JobOut]


class Mark(BaseModel):
    """PATCH: a star on a job, or on one of its pictures."""

    model_config = ConfigDict(extra="forbid")

    starred: bool
    picture: Short | None = None


class ClassifyRequest(BaseModel):
    """POST /api/classify."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(description="The id of a stored picture, or a data: URL")
    labels: Annotated[list[Label], Field(min_length=1, max_length=200)]


class Guess(BaseModel):
    """A label and its probability among those given."""

    label: str
    share: float


class GuessesOut(BaseModel):
    """The most probable label first."""

    labels: list[Guess]


class SearchRequest(BaseModel):
    """POST /api/search: stored pictures similar to a sentence or a picture."""

    model_config = ConfigDict(extra="forbid")

    sentence: Text | None = None
    image: str | None = None
    top: Annotated[int, Field(ge=1, le=200), NUMBER] = 24


class Hit(BaseModel):
    """A picture that was found."""

    picture: str
    job: str
    url: str
    score: float


class HitsOut(BaseModel):
    """The most similar first."""

    hits: list[Hit]
    unsearched: int = Field(0, description="Your pictures that no search finds yet: this CLIP has not embedded them.")


def url_of(name: str) -> str:
    """Relative to the page, so that it is right behind any proxy."""
    return f"pictures/{name}.png"

"""What the routes of the OpenAI images contract take and give (openai-python 3.57, openai-node 7.57)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pinxit.schema import LARGEST
from pinxit.serve.encoding import Format

MOST_PROMPT = 32_000
Text = Annotated[str, StringConstraints(max_length=MOST_PROMPT)]
Short = Annotated[str, StringConstraints(max_length=512)]
Quality = Literal["low", "medium", "standard", "auto", "high", "hd", "xhigh", "max"]
Size = Annotated[str, StringConstraints(pattern=r"^(auto|[0-9]{1,5}x[0-9]{1,5})$")]


class Painted(BaseModel):
    """What requests for pictures share. Further fields are settings of the painter: guidance, temperature, steps ..."""

    model_config = ConfigDict(extra="allow")

    model: Short | None = Field(None, description="A name of /v1/models; those of OpenAI mean the default painter.")
    n: Annotated[int, Field(ge=1, le=10)] | None = Field(None, description="Pictures: the best of the candidates.")
    size: Size | None = Field(
        None, description="auto, or WIDTHxHEIGHT of a square; what no network makes is resampled."
    )
    response_format: Literal["url", "b64_json"] | None = None
    user: Short | None = None
    safety_identifier: Short | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST)] | None = Field(
        None, description="The same seed gives the same pictures as `pinxit paint --seed`."
    )
    candidates: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Pictures to draw before the best are kept; otherwise `quality` says."
    )
    priority: Literal["interactive", "batch"] | None = Field(None, description="A weight: batch work gives way.")


class Streamed(Painted):
    """What generations and edits share."""

    quality: Quality | None = Field(
        None, description="How many candidates are drawn: low n, medium 4, auto and high 16, xhigh and max 64."
    )
    background: Literal["auto", "opaque"] | None = None
    output_format: Format | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    moderation: Literal["auto", "low"] | None = None


class GenerationRequest(Streamed):
    """POST /v1/images/generations."""

    prompt: Annotated[Text, StringConstraints(min_length=1)]
    style: Literal["vivid", "natural"] | None = None


class Link(BaseModel):
    """A picture in JSON."""

    image_url: str = Field(description="A data: URL, or one of a host that the server fetches from.")


class EditRequest(Streamed):
    """POST /v1/images/edits: the scalars of a form, or JSON with `images` and `mask`."""

    prompt: Annotated[Text, StringConstraints(min_length=1)]
    input_fidelity: Literal["low", "high"] | None = None
    images: Annotated[list[Link], Field(min_length=1, max_length=16)] | None = None
    mask: Link | None = None


class VariationRequest(Painted):
    """POST /v1/images/variations: the scalars of a form."""


class BlendRequest(Painted):
    """A job that leads from one picture to another: of /api alone."""


class EmbeddingRequest(BaseModel):
    """POST /v1/embeddings: sentences, and pictures as data: URLs."""

    model_config = ConfigDict(extra="forbid")

    input: Text | Annotated[list[str], Field(min_length=1, max_length=256)]
    model: Short | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: Short | None = None


class ErrorDetail(BaseModel):
    """What went wrong, in one sentence."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """Every error of this server's."""

    error: ErrorDetail


class ImageOut(BaseModel):
    """A picture."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None
    seed: int
    candidate: int
    score: float


class Tokens(BaseModel):
    """By kind."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """What it took: tokens of the text; codes, or steps, of all candidates."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: Tokens


class ImagesOut(BaseModel):
    """Pictures, best first."""

    created: int
    data: list[ImageOut]
    background: str = "opaque"
    output_format: str
    quality: str
    size: str
    usage: Usage
    warnings: list[str] = []


class ModelOut(BaseModel):
    """What can be asked for by its name."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "pinxit"
    can: list[str]
    sizes: list[int] = []
    settings: dict[str, Any] = {}


class ModelsOut(BaseModel):
    """All, the default painter first."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class EmbeddingOut(BaseModel):
    """A vector of length one."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsOut(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsage


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": said}
    for status, said in {
        400: "The request is wrong",
        401: "No key, or a wrong one",
        403: "Called by a strange name, or from a strange page",
        404: "There is no such thing",
        409: "The Idempotency-Key was used for another request",
        413: "Too large",
        429: "Too much is waiting; retry-after-ms says when to try again",
        500: "Something went wrong here",
        503: "Not ready",
    }.items()
}

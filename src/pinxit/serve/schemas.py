"""Request and response bodies of the OpenAI images API (openai-python 3.57, openai-node 7.57)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from pinxit.pictures import Format
from pinxit.schema import LARGEST

MAX_PROMPT = 32_000
MAX_INPUTS = 2048  # of an embeddings request, as OpenAI has it


def _number(given: Any) -> Any:
    """Refuse true and false, which pydantic would read as 1 and 0."""
    if isinstance(given, bool):
        raise ValueError("send a number, not true or false")
    return given


NUMBER = BeforeValidator(_number)  # after the bounds, which would else be missing in the OpenAPI document
Text = Annotated[str, StringConstraints(max_length=MAX_PROMPT)]
Short = Annotated[str, StringConstraints(max_length=512)]
Quality = Literal["low", "medium", "standard", "auto", "high", "hd", "xhigh", "max"]
Size = Annotated[str, StringConstraints(pattern=r"^(auto|[0-9]{1,5}x[0-9]{1,5})$")]


class PictureRequest(BaseModel):
    """Fields of all requests for pictures. Others are settings of the painter: guidance, temperature, steps ..."""

    model_config = ConfigDict(extra="allow")

    model: Short | None = Field(None, description="A name from /v1/models; OpenAI's names mean the default painter.")
    n: Annotated[int, Field(ge=1, le=10), NUMBER] | None = Field(
        None, description="How many of the best candidates to return."
    )
    size: Size | None = Field(
        None, description="auto, or WIDTHxHEIGHT of a square; sizes that no network produces are resampled."
    )
    response_format: Literal["url", "b64_json"] | None = None
    user: Short | None = None
    safety_identifier: Short | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST), NUMBER] | None = Field(
        None, description="The same seed gives the same pictures as `pinxit paint --seed`."
    )
    candidates: Annotated[int, Field(ge=1), NUMBER] | None = Field(
        None, description="How many pictures to draw and rank; the default depends on `quality`."
    )
    priority: Literal["interactive", "batch"] | None = Field(
        None, description="batch has an eighth of the weight of interactive."
    )


class StreamableRequest(PictureRequest):
    """Fields of generations and edits."""

    quality: Quality | None = Field(
        None, description="How many candidates are drawn: low n, medium 4, auto and high 16, xhigh and max 64."
    )
    background: Literal["auto", "opaque"] | None = None
    output_format: Format | None = None
    output_compression: Annotated[int, Field(ge=0, le=100), NUMBER] | None = Field(
        None, description="The quality of JPEG and WebP; a PNG takes 100 alone."
    )
    stream: bool | None = None
    partial_images: Annotated[int, Field(ge=0, le=3), NUMBER] | None = None
    moderation: Literal["auto", "low"] | None = None


class GenerationRequest(StreamableRequest):
    """POST /v1/images/generations."""

    prompt: Annotated[Text, StringConstraints(min_length=1)]
    style: Literal["vivid", "natural"] | None = None


class Link(BaseModel):
    """A picture in a JSON request."""

    image_url: str = Field(description="A data: URL, or a URL on a host that the server may fetch from.")


class EditRequest(StreamableRequest):
    """POST /v1/images/edits: the text fields of a form, or JSON with `images` and `mask`."""

    prompt: Annotated[Text, StringConstraints(min_length=1)]
    input_fidelity: Literal["low", "high"] | None = None
    images: Annotated[list[Link], Field(min_length=1, max_length=16)] | None = None
    mask: Link | None = None


class VariationRequest(PictureRequest):
    """POST /v1/images/variations: the text fields of a form."""


class BlendRequest(PictureRequest):
    """An interpolation between two pictures; only /api offers it."""


def _inputs(given: Any) -> Any:
    """Refuse what is neither a text nor a list of them: pydantic's own sentences would be about a part of the union."""
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ValueError("send texts, or pictures as data: URLs, one or a list of them; token ids are not read")
    if not 1 <= len(given) <= MAX_INPUTS:
        raise ValueError(f"{len(given)} texts and pictures are sent; a request takes 1 to {MAX_INPUTS}")
    return given


class EmbeddingRequest(BaseModel):
    """POST /v1/embeddings: texts, and pictures as data: URLs."""

    model_config = ConfigDict(extra="forbid")

    input: Annotated[
        str | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS)], BeforeValidator(_inputs)
    ] = Field(description="Texts of at most 32,000 characters, and pictures as data: URLs, at most 256 of these.")
    model: Short | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, NUMBER] | None = None
    user: Short | None = None


class ErrorDetail(BaseModel):
    """What is wrong, in one sentence."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every error."""

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
    """Tokens by kind."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Input: tokens of the prompt. Output: codes, or denoising steps, of all candidates."""

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
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "pinxit"
    can: list[str]
    sizes: list[int] = []
    settings: dict[str, Any] = {}


class ModelsOut(BaseModel):
    """All models, the default painter first."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class EmbeddingOut(BaseModel):
    """A unit vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Words of the texts, in place of tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsOut(BaseModel):
    """Vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsage


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The request is invalid",
        401: "The API key is missing or wrong",
        403: "The Host or the Origin is not allowed",
        404: "Not found",
        409: "The Idempotency-Key was used for another request",
        413: "The request is too large",
        429: "The queue is full; retry-after-ms says when to try again, unless that cannot help",
        500: "Internal error",
        503: "Loading, or shutting down",
    }.items()
}

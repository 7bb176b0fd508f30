"""What a request asks for is done, refused in one sentence, or named in a warning."""

from __future__ import annotations

from typing import Any

import pytest

from pinxit.serve.errors import RefusedError
from pinxit.serve.paint_plan import make_plan
from pinxit.serve.schemas import EditRequest, GenerationRequest, PictureRequest, StreamableRequest, VariationRequest
from pinxit.serve.settings import Settings
from tests.serve.running import Running, catalog

IDLE: list[tuple[str, type[PictureRequest], dict[str, Any]]] = [  # fields, and how they are sent to change nothing
    ("style", GenerationRequest, {"style": "vivid"}),
    ("input_fidelity", EditRequest, {"input_fidelity": "high"}),
    ("moderation", GenerationRequest, {"moderation": "low"}),
    ("response_format", EditRequest, {"stream": True, "response_format": "url"}),
    ("partial_images", GenerationRequest, {"partial_images": 2}),
]
USUAL: list[dict[str, Any]] = [  # fields that change something, or ask for what is done anyway
    {"quality": "low"},
    {"background": "opaque"},
    {"output_format": "jpeg"},
    {"output_format": "webp", "output_compression": 10},
    {"output_compression": 100},
    {"stream": True, "partial_images": 2},
    {"response_format": "url"},
    {"moderation": "auto"},
    {"partial_images": 0},
]


def idle_fields(kind: type[PictureRequest], asked: dict[str, Any]) -> list[str]:
    """The fields that the warnings name."""
    warnings = make_plan(kind(prompt="a", **asked), catalog(), Settings()).warnings  # type: ignore[call-arg]
    return [name for name, found, _ in (one.partition(" has no effect ") for one in warnings) if found]


@pytest.mark.parametrize(("name", "kind", "asked"), IDLE)
def test_a_field_that_changes_nothing_is_named_in_a_warning(
    name: str, kind: type[PictureRequest], asked: dict[str, Any]
) -> None:
    assert idle_fields(kind, asked) == [name]


@pytest.mark.parametrize("asked", USUAL)
def test_a_field_that_changes_something_is_not(asked: dict[str, Any]) -> None:
    assert idle_fields(GenerationRequest, asked) == []


def test_every_field_of_generations_and_edits_has_a_row() -> None:
    own = StreamableRequest.model_fields.keys() - PictureRequest.model_fields.keys()
    assert own <= {name for asked in [*USUAL, *(row[2] for row in IDLE)] for name in asked}


@pytest.mark.parametrize(
    ("kind", "asked", "said"),
    [(GenerationRequest, {"output_compression": 10}, "a PNG is not compressed below 100"),
     (EditRequest, {"output_compression": 99, "output_format": "png"}, "a PNG is not compressed below 100"),
     (GenerationRequest, {"input_fidelity": "high"}, "only edits take it"),
     (EditRequest, {"style": "vivid"}, "only generations take it"),
     (VariationRequest, {"quality": "low"}, "only generations and edits take it"),
     (VariationRequest, {"prompt": "a"}, "only generations and edits take it")],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_the_name_of_the_field(
    kind: type[PictureRequest], asked: dict[str, Any], said: str
) -> None:
    about = asked if kind is VariationRequest else {"prompt": "a"} | asked
    with pytest.raises(RefusedError) as refused:
        make_plan(kind(**about), catalog(), Settings())
    name = next(iter(asked))
    assert refused.value.message.startswith(f"{name}: ") and said in refused.value.message
    assert (refused.value.status, refused.value.param) == (400, name)


def test_a_picture_is_compressed_as_much_as_is_asked_for() -> None:
    served = catalog()
    for asked, found in ((0, 0), (7, 7), (None, 100)):
        body = GenerationRequest.model_validate({"prompt": "a", "output_format": "webp", "output_compression": asked})
        assert make_plan(body, served, Settings()).compression == found


def test_a_stream_tells_its_warnings(server: Running) -> None:
    asked = {"prompt": "a", "stream": True, "response_format": "url", "candidates": 1}
    answer = server.post("/v1/images/generations", json=asked)
    assert answer.status_code == 200 and "response_format has no effect on a stream" in answer.text


@pytest.mark.parametrize(
    ("settings", "name"), [({"top_k": 4, "bogus": 1}, "bogus"), ({"p": 1, "top_p": 2}, "p"), ({"top_p": 2}, "top_p")]
)
def test_the_setting_that_is_wrong_is_named(settings: dict[str, Any], name: str) -> None:
    """And not one that the sentence offers instead, or whose name is a part of the other's."""
    with pytest.raises(RefusedError) as refused:
        make_plan(GenerationRequest(prompt="a", **settings), catalog(), Settings())
    assert refused.value.param == name, refused.value.message

"""The OpenAPI document is current, and what is made up from it never breaks the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from pinxit.serve.app import openapi
from pinxit.serve.errors import MAX_MESSAGE
from tests.serve.running import Running

PLACE = Path(__file__).parents[2] / "docs" / "openapi.json"
BODIES = {"prompt": "a cat", "candidates": 1, "seed": 1}


def test_the_document_in_the_repository_is_current() -> None:
    kept = json.loads(PLACE.read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(openapi())), "run: python -m scripts.write_openapi"


def fuzz(server: Running, cases: int, seed: int) -> None:
    """Requests made up from the document, right and wrong ones: no 5xx, every error short and in the envelope."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from schemathesis.generation import GenerationMode

    schema = schemathesis.openapi.from_dict(openapi())
    schema.config.update(base_url=server.url)
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [one for one in operations if one.path not in ("/api/events",)]  # never ends
    assert len(operations) >= 20
    pairs = [
        (operation, mode)
        for operation in operations
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 + can_be_wrong(operation)]
    ]
    sent: list[str] = []
    rounds = 0
    while len(sent) < cases:  # again, as of some there are few different ones, and of others only half can be made
        before = len(sent)
        for operation, mode in pairs:
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except Exception:  # nothing about it can be wrong
                continue

            @seeded(seed + 1000 * rounds)
            @settings(max_examples=-(-cases // len(pairs)), deadline=None, database=None,
                      phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=strategy)
            def send(case: Any) -> None:
                if isinstance(case.body, dict):
                    case.body = small(case.body)
                check(case.call(timeout=60))
                sent.append(case.operation.path)

            try:
                send()
            except Exception as error:
                if type(error).__name__ not in ("Unsatisfiable", "SkipTest", "InvalidArgument"):
                    raise
        rounds += 1
        assert len(sent) > before
    assert len(set(sent)) >= 15


def can_be_wrong(operation: Any) -> bool:
    """Whether it takes anything but names in its path: of those, hundreds are made up in vain to find a wrong one."""
    schemas = [one["schema"] for one in operation.definition.raw.get("parameters", [])]
    return bool(operation.body) or any(one | {"title": ""} != {"type": "string", "title": ""} for one in schemas)


def small(body: dict[str, Any]) -> dict[str, Any]:
    """The same with little to paint: this is about requests, not about pictures."""
    for name, most in (("candidates", 2), ("n", 2), ("size", "32x32")):
        if isinstance(most, int) and isinstance(body.get(name), int) and 2 < body[name] <= 256:
            body[name] = most
    return body


def check(answer: Any) -> None:
    assert answer.status_code < 500, (answer.request.method, str(answer.request.url), answer.text)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert len(answer.content) <= 4096 and len(error["message"]) <= MAX_MESSAGE


def test_made_up_requests_never_break_it(server: Running) -> None:
    fuzz(server, 80, 0)
    assert server.get("/ready").status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_made_up_requests_never_break_it(server: Running) -> None:
    fuzz(server, 10_000, 1)
    assert server.get("/ready").status_code == 200


@pytest.mark.parametrize("field", ["prompt", "model", "size", "user", "quality", "n", "seed", "temperature"])
@pytest.mark.parametrize("value", ["\x00", "\ud800", "x" * 1000, -1, 1e308, [], {}, True, None, 2**64, ""])
def test_every_field_takes_or_refuses_what_is_strange(server: Running, field: str, value: Any) -> None:
    sent = {"content": json.dumps(BODIES | {field: value}), "headers": {"content-type": "application/json"}}
    check(httpx.post(server.url + "/v1/images/generations", timeout=60, **sent))  # type: ignore[arg-type]

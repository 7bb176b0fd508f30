"""What stands behind the servers that `serve.py` compares with; a module of its own, as LitServe starts it anew."""

from __future__ import annotations

import base64
from typing import Any

import litserve

import pinxit
from pinxit.pictures import png_bytes


def loaded(checkpoint: str) -> Any:
    """The painter, after its first picture."""
    painter = pinxit.load(checkpoint)
    painter.paint("a red cube", candidates=1)
    return painter


def told(ranked: Any) -> dict[str, str]:
    """The best picture as JSON has it."""
    return {"b64_json": base64.b64encode(png_bytes(ranked[0].picture)).decode()}


class Batched(litserve.LitAPI):  # type: ignore[misc]
    """The painter, asked for batches."""

    checkpoint = "tiny"

    def setup(self, device: str) -> None:
        """Load it."""
        self.painter = loaded(self.checkpoint)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, RUF100
        """The body is what is asked; an annotation would make it something else."""
        return request

    def predict(self, batch: Any) -> Any:
        """Those of a like number of candidates together."""
        found: dict[int, Any] = {}
        for size in {one["candidates"] for one in batch}:
            places = [k for k, one in enumerate(batch) if one["candidates"] == size]
            asked = [(batch[k]["prompt"], batch[k]["seed"]) for k in places]
            found |= dict(zip(places, self.painter.paint_many(asked, candidates=size, keep=1), strict=True))
        return [found[k] for k in range(len(batch))]

    def encode_response(self, output: Any) -> Any:
        """A PNG."""
        return told(output)

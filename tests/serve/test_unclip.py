"""unCLIP behind the port: variations, which their inventor retired, and edits."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator

import numpy as np
import openai
import pytest
from PIL import Image

from pinxit.serve.catalog import Catalog
from pinxit.serve.settings import Settings
from tests.recipes.unclips import save_random_unclip
from tests.serve.running import Running, running

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def file(picture: object) -> bytes:
    found = io.BytesIO()
    Image.fromarray(picture).save(found, "png")  # type: ignore[arg-type]
    return found.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("unclip")
    save_random_unclip(folder / "unclip")
    settings = Settings(recipes=(f"unclip={folder / 'unclip'}",), clip="", device="cpu")
    with running(folder / "data", lambda: Catalog.opened(settings)) as found:
        yield found


def varied(client: openai.OpenAI, picture: object, n: int) -> list[bytes]:
    how = {"response_format": "b64_json", "extra_body": {"seed": 3, "candidates": 2}}
    with warnings.catch_warnings():  # the client calls what it asks for retired
        warnings.simplefilter("ignore")
        found = client.images.create_variation(image=file(picture), n=n, **how)  # type: ignore[arg-type]
    assert found.data is not None
    files = [base64.b64decode(one.b64_json or "") for one in found.data]
    return [np.asarray(Image.open(io.BytesIO(one))).tobytes() for one in files]


def test_variations_are_of_the_picture_and_the_seed(served: Running) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
        assert client.models.list().data[0].model_extra["can"] == ["paint", "edit", "vary"]  # type: ignore[index]
        both, (first,) = varied(client, PICTURE, 2), varied(client, PICTURE, 1)
        assert both[0] == first and both[1] != first
        assert first not in varied(client, 255 - PICTURE, 2)

"""unCLIP behind the port: variations, which their inventor retired, and edits."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
from PIL import Image

from pinxit.api import load_upsampler
from pinxit.errors import UsageError
from pinxit.recipes.unclip.manipulation import Manipulation
from pinxit.serve.catalog import Catalog, Model
from pinxit.serve.server import check
from pinxit.serve.settings import Settings
from pinxit.types import Prompt
from tests.recipes.painters import random_painter
from tests.recipes.unclips import save_random_unclip
from tests.serve.running import Running, running
from tests.serve.test_jobs import data_url, ended

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
    with running(folder / "data", lambda: opened(folder / "unclip")) as found:
        yield found


def opened(checkpoint: Path) -> Catalog:
    return Catalog.opened(Settings(recipes=(f"unclip={checkpoint}",), clip="", device="cpu"))


def metadata_of(file: bytes) -> dict[str, Any]:
    """The metadata of a picture."""
    found: dict[str, Any] = json.loads(Image.open(io.BytesIO(file)).info["pinxit"])
    return found


def varied(client: openai.OpenAI, picture: object, n: int) -> list[bytes]:
    how = {"response_format": "b64_json", "extra_body": {"seed": 3, "candidates": 2}}
    with warnings.catch_warnings():  # the client calls what it asks for retired
        warnings.simplefilter("ignore")
        found = client.images.create_variation(image=file(picture), n=n, **how)  # type: ignore[arg-type]
    assert found.data is not None
    files = [base64.b64decode(one.b64_json or "") for one in found.data]
    assert {"guidance", "steps"} <= (facts := metadata_of(files[0])).keys() and facts["made_by"] == "vary"
    assert not {"text", "prior", "tries", "embedding_weight", "agreement"} & facts.keys(), "it has read none of them"
    return [np.asarray(Image.open(io.BytesIO(one))).tobytes() for one in files]


def test_variations_are_of_the_picture_and_the_seed(served: Running) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
        assert client.models.list().data[0].model_extra["can"] == ["paint", "vary", "blend"]  # type: ignore[index]
        both, (first,) = varied(client, PICTURE, 2), varied(client, PICTURE, 1)
        assert both[0] == first and both[1] != first
        assert first not in varied(client, 255 - PICTURE, 2)


@pytest.mark.parametrize(
    ("name", "value"), [("embedding_weight", 1), ("agreement", 1), ("prior_steps", 1), ("text", True)]
)
def test_a_setting_that_changes_no_variation_is_refused(served: Running, name: str, value: Any) -> None:
    """As `pinxit vary` does; a variation is drawn from the picture's embedding alone, without prior and caption."""
    form = {"image": ("fox.png", file(PICTURE), "image/png")}
    answer = served.post("/v1/images/variations", files=form, data={"steps": "2", name: json.dumps(value)})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == name, answer.text
    assert answer.json()["error"]["message"].startswith(f"{name} has no effect on pictures drawn from a picture's")
    job = {"kind": "vary", "image": data_url(PICTURE), "settings": {"steps": 2, name: value}}
    answer = served.post("/api/jobs", json=job)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == name, answer.text


def test_a_blend_is_kept_in_its_order(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manipulation.blending, "__defaults__", (6,))  # steps there and back
    one, other = data_url(PICTURE), data_url(255 - PICTURE)
    asked = {"kind": "blend", "image": one, "other": other, "candidates": 3, "prompt": "day to night", "seed": 1}
    with httpx.stream("GET", served.url + "/api/events", timeout=60) as stream:  # a page that watches
        lines = stream.iter_lines()
        next(lines)
        (job,) = served.post("/api/jobs", json=asked).json()["jobs"]
        told = (json.loads(line[6:]) for line in lines if line.startswith("data: "))
        seen = list(takewhile(lambda message: message["kind"] != "ended", told))
    looks = {message["candidate"] for message in seen if message["kind"] == "look"}
    assert looks and looks <= {0, 1, 2}  # of which a page is sent those that it has time for
    done = ended(served, job["id"])
    assert done["state"] == "done" and done["kind"] == "blend" and done["image"] != done["other"], done
    assert [picture["candidate"] for picture in done["pictures"]] == [0, 1, 2]
    files = [served.get("/" + picture["url"]).content for picture in done["pictures"]]
    assert len(set(files)) == 3
    facts = metadata_of(files[1])
    assert facts["made_by"] == "blend" and not {"text", "prior", "steps", "guidance"} & facts.keys()
    ends = {"kind": "blend", "image": done["other"], "other": done["image"], "candidates": 2}
    assert served.post("/api/jobs", json=ends).status_code == 404  # uploads are no pictures of a job
    ends = {"kind": "blend", "image": done["pictures"][2]["id"], "other": done["pictures"][0]["id"], "candidates": 2}
    (back,) = served.post("/api/jobs", json=ends).json()["jobs"]
    assert ended(served, back["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("asked", "param"),
    [({"other": None}, "other"), ({"candidates": 1}, "candidates"), ({"candidates": 17}, "candidates"),
     ({"settings": {"steps": 3}}, "settings"), ({"keep": 1}, "candidates"), ({"kind": "vary"}, "other"),
     ({"mask": "data:,"}, "mask"), ({"image": None}, "image")],
)  # fmt: skip
def test_what_is_no_blend_is_refused(served: Running, asked: dict[str, Any], param: str) -> None:
    picture = data_url(PICTURE)
    answer = served.post("/api/jobs", json={"kind": "blend", "image": picture, "other": picture} | asked)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text


def test_a_check_paints_with_it_too(tmp_path: Path) -> None:
    """Its ranker is a CLIP of any origin, which tells no device."""
    pytest.importorskip("transformers")
    save_random_unclip(tmp_path / "unclip")
    settings = Settings(recipes=(f"mine={tmp_path / 'unclip'}",), clip="", device="cpu", data=str(tmp_path / "data"))
    found = check(settings)
    assert found["device"] == "cpu" and found["first_picture_seconds"]["mine"] > 0


def test_a_painter_that_only_varies_is_served(tmp_path: Path) -> None:
    """As a folder of Karlo without a prior: it is warmed up by a picture, and says what it cannot."""
    pytest.importorskip("transformers")
    save_random_unclip(tmp_path / "unclip")
    catalog = opened(tmp_path / "unclip")

    def mute() -> None:
        raise UsageError("it has no prior.")

    catalog.default.painter.check_paints = mute  # type: ignore[attr-defined]
    with (
        running(tmp_path / "data", lambda: catalog) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client,
    ):
        assert client.models.list().data[0].model_extra["can"] == ["vary", "blend"]  # type: ignore[index]
        assert len(varied(client, PICTURE, 1)) == 1


def test_a_painter_of_the_middle_size_is_enlarged_from_there(tmp_path: Path) -> None:
    """By a cascade from 16 by 32 to 64 pixels, as without a server."""
    pytest.importorskip("transformers")
    from tests.recipes.imagens import save_random_imagen

    painter = random_painter()
    upsampler = load_upsampler(save_random_imagen(tmp_path / "three", third=True), device="cpu")
    assert painter.size == 32
    catalog, asked = Catalog([Model("dalle", painter, upsampler)]), painter.asked(Prompt("a red square"), 1)
    ((route, _),) = catalog.job(catalog.model("dalle"), asked, 64).starts
    names = [name.rpartition("/")[2] for name in route]  # before it stands a hash, which may hold any digits
    assert names[-2:] == ["low64", "up64"] and not any("32" in one for one in names)

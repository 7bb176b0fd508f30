"""The same seed gives the same file, whether the command line paints or the server does, alone or in a crowd."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import random
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from PIL import Image

from pinxit.serve.catalog import Catalog
from pinxit.serve.settings import Settings
from tests.cli.helpers import Cli
from tests.recipes.imagens import save_random_imagen
from tests.recipes.painters import save_random_checkpoint
from tests.serve.running import Running, running

RECIPES = ("dalle", "imagen")
PROMPTS = ("a red square", "two blue stars", "三个绿色的三角形")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    save_random_checkpoint(folder / "dalle")
    save_random_imagen(folder / "imagen")
    return {name: folder / name for name in RECIPES}


@pytest.fixture(scope="module")
def served(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = Settings(recipes=tuple(f"{name}={path}" for name, path in checkpoints.items()), clip="", device="cpu")
    with running(tmp_path_factory.mktemp("serve"), lambda: Catalog.opened(settings)) as found:
        yield found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_command_line_and_the_server_write_the_same_file(
    cli: Cli,
    checkpoints: dict[str, Path],
    served: Running,
    recipe: str,
    tmp_path: Path,
) -> None:
    done = cli("paint", PROMPTS[0], "--seed", 7, "--candidates", 3, "--keep", 2, "--checkpoint", checkpoints[recipe],
               "--out", tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    files = sorted(Path(done.out.strip()).parent.glob("*candidate*.png"))
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="any") as client:
        found = client.images.generate(prompt=PROMPTS[0], model=recipe, n=2, extra_body={"seed": 7, "candidates": 3})
    assert found.data is not None and len(files) == 2
    assert [digest(base64.b64decode(one.b64_json or "")) for one in found.data] == [
        digest(path.read_bytes()) for path in files
    ]


def test_a_diffusion_streams_what_it_foresees_at_the_size_that_it_ends_with(served: Running) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
        body = {"seed": 7, "candidates": 2}
        how = {"prompt": PROMPTS[0], "model": "imagen", "extra_body": body}
        events = list(client.images.generate(stream=True, partial_images=3, **how))  # type: ignore[call-overload]
        whole = client.images.generate(**how)  # type: ignore[call-overload]
    files = [base64.b64decode(one.b64_json) for one in events]
    assert [one.type for one in events][-1] == "image_generation.completed" and len(events) >= 3
    assert len({Image.open(io.BytesIO(one)).size for one in files}) == 1
    assert len({digest(one) for one in files}) == len(files)
    assert files[-1] == base64.b64decode(whole.data[0].b64_json)


def schedule(served: Running, recipe: str, number: int) -> None:
    """A crowd that comes, goes and hurries, by chance; whoever stays gets what it gets alone."""
    dice = random.Random(f"{recipe} {number}")

    async def paint(client: openai.AsyncOpenAI, seed: int, prompt: str) -> str:
        found = await client.images.generate(prompt=prompt, model=recipe, extra_body={"seed": seed, "candidates": 2})
        assert found.data is not None
        return digest(base64.b64decode(found.data[0].b64_json or ""))

    async def one_of_many(client: openai.AsyncOpenAI, wanted: tuple[int, str]) -> str | None:
        await asyncio.sleep(dice.random() * 0.05)
        if dice.random() < 0.3:  # another who leaves
            with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                await asyncio.wait_for(paint(client, dice.randrange(100, 2**31), PROMPTS[0]), 0.001)
            return None
        return await paint(client, *wanted)

    async def all_of_it() -> None:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
            asked = [(dice.randrange(3), dice.choice(PROMPTS)) for _ in range(dice.randint(2, 6))]
            found = await asyncio.gather(*(one_of_many(client, wanted) for wanted in asked))
        for wanted, got in zip(asked, found, strict=True):
            if got is not None:
                assert alone.setdefault((recipe, *wanted), got) == got

    alone = ALONE.setdefault(served.url, {})
    served.context.dispatcher.by_key.clear()  # so that nothing is answered from memory
    asyncio.run(all_of_it())


ALONE: dict[str, dict[tuple[str, int, str], str]] = {}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_crowd_changes_no_picture(served: Running, recipe: str) -> None:
    for number in range(8):
        schedule(served, recipe, number)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("recipe", RECIPES)
def test_five_hundred_crowds_change_no_picture(served: Running, recipe: str) -> None:
    for number in range(500):
        schedule(served, recipe, number)

"""`--set`: what it says reaches the painter as the kind that it wants; `pinxit recipes --settings` lists all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinxit.cli.painter_settings import settings_of
from pinxit.config import as_set
from pinxit.data.decode import read_picture
from pinxit.errors import UsageError
from pinxit.pictures import read_metadata, write_png
from tests.cli.helpers import Cli
from tests.recipes.painters import save_random_checkpoint

DALLE = {"guidance": 3.0, "temperature": 2.0, "top_k": 3, "top_p": 0.5, "agreement": 2.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DALL-E with settings of its own."""
    folder = tmp_path_factory.mktemp("checkpoints") / "nano"
    save_random_checkpoint(folder, {"guidance": 1.5, "top_k": 8, "temperature": 0.5})
    return folder


def painted(cli: Cli, *arguments: object) -> tuple[Path, dict[str, Any], bytes]:
    """The folder, and what its best picture tells and shows."""
    done = cli(*arguments)
    assert done.code == 0, done.err
    folder = Path(done.out.strip()).parent
    (best,) = folder.glob("01-*.png")
    return folder, read_metadata(best), read_picture(best).tobytes()


def test_numbers_and_words_and_what_is_not_given() -> None:
    found = settings_of(["steps=50", "percentile=0.9", "sampler=dpm++2m", "spacing=10,10,3"], guidance=2.0, steps=None)
    assert found == {"guidance": 2.0, "steps": 50, "percentile": 0.9, "sampler": "dpm++2m", "spacing": "10,10,3"}
    assert settings_of(None) == {} == settings_of([], guidance=None)


@pytest.mark.parametrize("text", ["guidance=2", "guidance=1"])
def test_nothing_is_given_twice(text: str) -> None:
    with pytest.raises(UsageError, match=f"^guidance is given twice: leave out --guidance or --set {text}"):
        settings_of([text], guidance=1.0)
    with pytest.raises(UsageError, match=f"^guidance is given twice: leave out one --set or --set {text}"):
        settings_of(["guidance=1", text])


def test_an_option_and_its_set_are_the_same_run(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    """Down to the folder's name, which 2 for 2.0 would change."""
    command = ("paint", "a cat", "--candidates", 2, "--checkpoint", checkpoint, "--out", tmp_path)
    one = painted(cli, *command, "--guidance", 2, "--temperature", 1)
    assert painted(cli, *command, "--set", "guidance=2", "--set", "temperature=1.0") == one
    assert painted(cli, *command, "--set", "top_k=8") == painted(cli, *command), "which is the checkpoint's own"


@pytest.mark.parametrize(("name", "value"), DALLE.items())
@pytest.mark.parametrize("verb", ["paint", "complete"])
def test_every_setting_of_a_dalle(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, name: str, value: float
) -> None:
    """The checkpoint's own, but for the one that is set; what the metadata tell is what the engine is asked for."""
    from pinxit.recipes.painting import Painter

    asked: list[dict[str, Any]] = []
    serve = Painter._serve

    def watched(self: Painter, jobs: Any, *others: Any) -> Any:
        asked.extend(dict(one.settings) for one in jobs)
        return serve(self, jobs, *others)

    monkeypatch.setattr(Painter, "_serve", watched)
    write_png(tmp_path / "known.png", np.full((32, 32, 3), 7, np.uint8))
    words = ("paint", "a cat") if verb == "paint" else ("complete", tmp_path / "known.png", "a cat", "--keep-rows", 2)
    changed = ("--set", f"{name}={value:g}", "--checkpoint", checkpoint, "--candidates", 1, "--out", tmp_path)
    _, facts, _ = painted(cli, *words, *changed)
    own = {"guidance": 1.5, "temperature": 0.5, "top_k": 8, "top_p": 1.0, "agreement": 0.0}
    assert asked == [own | {name: value}] and {key: facts[key] for key in own} == asked[0]
    assert {key: type(one) for key, one in asked[0].items()} == {key: type(one) for key, one in own.items()}


@pytest.mark.parametrize("value", [True, 50, 0.5, "", "dpm++2m", "10,10,3", "50", "true", "null", '"'])
def test_a_value_is_printed_as_it_is_read(value: Any) -> None:
    (found,) = settings_of([f"name={as_set(value)}"]).values()
    assert found == value and type(found) is type(value)


def test_recipes_lists_every_setting_as_set_takes_it(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("recipes", "--settings", checkpoint)
    assert done.code == 0, done.err
    assert sorted(done.out.split()) == ["agreement=0.0", "guidance=1.5", "temperature=0.5", "top_k=8", "top_p=1.0"]
    command = ("paint", "a cat", "--candidates", 1, "--checkpoint", checkpoint, "--out", tmp_path)
    every = [word for line in done.out.splitlines() for word in ("--set", line)]
    assert painted(cli, *command, *every) == painted(cli, *command)


def test_recipes_lists_the_upsamplers_too(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.recipes.imagens import save_random_imagen

    done = cli("recipes", "--settings", save_random_imagen(tmp_path / "nano"))
    assert done.code == 0, done.err
    told = dict(line.split("=") for line in done.out.splitlines())
    assert {"steps", "sampler", "grid", "percentile", "augmentation", "upsampler_steps", "upsampler_guidance"} <= set(
        told
    )
    assert (told["steps"], told["upsampler_steps"], told["augmentation"]) == ("4", "2", "0.2")


def test_recipes_lists_settings_or_draws_a_graph(cli: Cli) -> None:
    refused = cli("recipes", "--settings", "tiny", "--graph", "tiny")
    assert refused.code == 2 and "give --graph or --settings, but not both." in refused.err

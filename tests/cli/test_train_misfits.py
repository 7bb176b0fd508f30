"""`pinxit train ... --init-from`: what cannot fit is refused before a picture is drawn, not when its stage comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.helpers import Cli
from tests.recipes.painters import save_random_checkpoint

RECIPES = ("dalle", "clip", "imagen", "unclip")
WIDER = {  # than the checkpoint's
    "dalle": "dvae.channels=16",
    "clip": "clip.embed=24",
    "imagen": "stages.base.unet.embed=8",
    "unclip": "decoder.unet.embed=8",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    from tests.recipes.imagens import save_random_imagen
    from tests.recipes.karlos import save
    from tests.recipes.unclips import save_random_unclip

    place = tmp_path_factory.mktemp("checkpoints")
    for name in ("dalle", "clip"):
        save_random_checkpoint(place / name)
    save_random_imagen(place / "imagen")
    save_random_unclip(place / "unclip")
    save(place / "karlo")
    return place


def begin(cli: Cli, place: Path, recipe: str, *more: str) -> str:
    """What a new run says that is refused, having left nothing behind."""
    verb = "unclip" if recipe == "karlo" else recipe
    words = ["train", verb, "--init-from", str(place / recipe), "--out", str(place / "run"), *more]
    done = cli(*words, "--data", "world:small", "--set", "seed=3")
    assert done.code and len(done.err.splitlines()) == 1, done.err
    assert not (place / "run").exists()
    return done.err


@pytest.mark.parametrize("recipe", [*RECIPES, "karlo"])
def test_additions_of_a_rank_that_no_matrix_has(recipe: str, cli: Cli, checkpoints: Path) -> None:
    told = begin(cli, checkpoints, recipe, "--lora", "4096")
    assert "plan.lora=4096: no matrix has more rows and columns than that: choose a smaller rank" in told


def test_an_unclip_of_another_clip(cli: Cli, checkpoints: Path) -> None:
    """Its networks were trained in the space of the old one's embeddings, which says nothing about the new one's."""
    other = checkpoints / "other"
    save_random_checkpoint(other, seed=1)
    told = begin(cli, checkpoints, "unclip", "--clip", str(other), "--pictures", "8", "--stages", "pictures")
    old = checkpoints / "clip"
    assert f"unclip was trained on embeddings of the CLIP '{old}' (" in told and f"not of '{other}' (" in told


NARROW = [f"--set={field}" for field in ("text.learned.width=32", "text.learned.heads=4")]
NARROW += [f"--set=stages.{stage}.unet.text=32" for stage in ("base", "upsampler")]  # as the checkpoint's are
LORA = {  # for weights that the checkpoint does not bring: what is asked for, and what is missing
    "dalle": (("dalle", "--lora", "4"), None),
    "clip": (("clip", "--lora", "4"), None),
    "imagen": (("imagen", "--init-from", "imagen", "--lora", "4", "--text-encoder", "learned", *NARROW), "base"),
    "unclip": (("unclip", "--preset", "nano", "--init-from", "imagen", "--lora", "4"), "prior"),
    "judge": (("judge", "--set", "plan.lora=4"), None),
}


@pytest.mark.parametrize("recipe", LORA)
def test_additions_to_weights_that_would_be_random(recipe: str, cli: Cli, checkpoints: Path) -> None:
    (verb, *words), stage = LORA[recipe]
    words = [str(checkpoints / word) if word == "imagen" else word for word in words]
    done = cli("train", verb, *words, "--data", "world:small", "--out", checkpoints / "random")
    assert done.code and len(done.err.splitlines()) == 1, done.err
    where = "name some by --init-from" if stage is None else f"{stage}: "
    assert "plan.lora=4 adapts weights that are there" in done.err and where in done.err
    assert not (checkpoints / "random").exists()


@pytest.mark.parametrize("recipe", RECIPES)
def test_models_of_other_sizes(recipe: str, cli: Cli, checkpoints: Path) -> None:
    told = begin(cli, checkpoints, recipe, "--set", WIDER[recipe])
    assert "are of another model: " in told and " there and of shape [" in told


@pytest.mark.parametrize("recipe", ["dalle", "imagen", "unclip"])
def test_costs_of_a_stream_are_told_without_its_shards(recipe: str, cli: Cli, tmp_path: Path) -> None:
    """Nothing is stored of them."""
    words = ["train", recipe, "--preset", "nano", "--out", str(tmp_path / "run"), "--dry-run"]
    done = cli(*words, "--data", "s3://bucket/{00000..00003}.tar", "--set", "data.stream=true")
    assert done.code == 0 and "GFLOP/picture" in done.out and "disk" not in done.out, done.err

"""`pinxit paint` with an Imagen's checkpoint, and anybody's pictures enlarged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pinxit.data.decode import read_picture
from pinxit.pictures import read_metadata
from pinxit.recipes.jobs import PaintProgress
from tests.cli.helpers import Cli

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.recipes.painters import save_random_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_imagen(tmp_path_factory.mktemp("imagen") / "nano")


def paint(cli: Cli, checkpoint: Path, out: Path, *options: object) -> list[Path]:
    done = cli("paint", "a red cat", "--candidates", 3, "--keep", 2, "--json", "--checkpoint", checkpoint,
               "--out", out, *options)  # fmt: skip
    assert done.code == 0, done.err
    return [Path(one["path"]) for one in json.loads(done.out)["pictures"]]


def test_imagen_paints_its_whole_cascade_by_itself(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    pictures = paint(cli, checkpoint, tmp_path)
    assert [read_picture(one).shape for one in pictures] == [(32, 32, 3)] * 2
    facts = read_metadata(pictures[0])
    assert facts["recipe"] == "imagen" and facts["upscale"] == 32 and facts["sampler"] == "ddim"
    assert {"guidance", "steps", "percentile", "seed", "candidate", "checkpoint_hash"} <= facts.keys()
    assert facts["upsampler"] == str(checkpoint) and facts["upsampler_hash"] == facts["checkpoint_hash"]
    assert (facts["upsampler_sampler"], facts["upsampler_steps"]) == ("ddim", 2)
    assert (facts["upsampler_guidance"], facts["augmentation"]) == (1.0, 0.2)


def test_enlarging_moves_the_bar_and_is_seen(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Painting is the first half, enlarging the second, whose previews have the large size."""
    seen: list[tuple[float, int]] = []

    @contextmanager
    def painting(label: str, preview: Path) -> Iterator[Callable[[PaintProgress], None]]:
        def watch(done: PaintProgress) -> None:
            seen.extend((done.share, len(picture)) for picture in done.preview())

        yield watch

    monkeypatch.setattr("pinxit.cli.progress.painting", painting)
    monkeypatch.setattr("pinxit.cli.progress.PREVIEW_SECONDS", 0.0)
    paint(cli, checkpoint, tmp_path)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares) and {size for share, size in seen if share < 0.5} == {16}
    assert {size for share, size in seen if share > 0.5} == {32}


def test_small_pictures_settings_and_the_same_again(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    options = ("--upscale", 0, "--steps", 3, "--set", "sampler=dpm++2m", "--guidance", 2, "--set", "percentile=0.9",
               "--seed", 5, "--set", "grid=karras")  # fmt: skip
    pictures, again = (paint(cli, checkpoint, tmp_path / name, *options) for name in ("a", "b"))
    assert [read_picture(one).shape for one in pictures] == [(16, 16, 3)] * 2
    assert [one.read_bytes() for one in pictures] == [one.read_bytes() for one in again]
    facts = read_metadata(pictures[0])
    assert (facts["steps"], facts["sampler"], facts["guidance"], facts["seed"]) == (3, "dpm++2m", 2.0, 5)
    assert facts["grid"] == "karras"
    even = paint(cli, checkpoint, tmp_path / "c", *options[:-1], "grid=even")
    assert even[0].read_bytes() != pictures[0].read_bytes()


def test_the_upsamplers_settings_are_set_too(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    usual = paint(cli, checkpoint, tmp_path / "usual")
    changes = {"augmentation": 0.6, "upsampler_steps": 3, "upsampler_guidance": 2.0}
    found = []
    for name, value in changes.items():
        made = paint(cli, checkpoint, tmp_path / name, "--set", f"{name}={value}")
        found.append(read_picture(made[0]).tobytes())
        assert read_metadata(made[0])[name] == value != read_metadata(usual[0])[name]
    assert len({read_picture(usual[0]).tobytes(), *found}) == 4


def test_anybodys_pictures_are_enlarged_by_the_upsampler_that_is_named(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    dalle, large = tmp_path / "dalle", save_random_imagen(tmp_path / "large", 0, "stages.upsampler.size=64")
    save_random_checkpoint(dalle)
    made = paint(cli, dalle, tmp_path / "made", "--upscale", 64, "--upsampler", large)
    assert [read_picture(one).shape for one in made] == [(64, 64, 3)] * 2, "of 32 px, brought to 16 first"
    facts = read_metadata(made[0])
    assert (facts["recipe"], facts["upscale"], facts["upsampler"]) == ("dalle", 64, str(large))
    assert facts["upsampler_hash"] != facts["checkpoint_hash"]


def test_pictures_as_large_as_the_upsamplers_are_refused_before_they_are_painted(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    """They used to be made smaller without a word."""
    dalle = tmp_path / "dalle"
    save_random_checkpoint(dalle)
    done = cli("paint", "a red cat", "--checkpoint", dalle, "--upscale", 32, "--upsampler", checkpoint,
               "--out", tmp_path / "none")  # fmt: skip
    assert done.code == 2 and not (tmp_path / "none").exists()
    assert "takes square pictures of at least 16 px and less than 32, not 32 x 32." in done.err
    done = cli("paint", "a red cat", "--checkpoint", dalle, "--upsampler", checkpoint, "--out", tmp_path / "none")
    assert done.code == 2 and "would enlarge nothing" in done.err and not (tmp_path / "none").exists()


def test_another_upsampler_may_stand_behind_a_base(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    own = paint(cli, checkpoint, tmp_path / "own")
    named = paint(cli, checkpoint, tmp_path / "named", "--upsampler", save_random_imagen(other / "nano", seed=1))
    for one, another in zip(own, named, strict=True):
        assert read_picture(one).shape == read_picture(another).shape == (32, 32, 3)
        assert (read_picture(one) != read_picture(another)).any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--set", "top_k=3"), "no setting 'top_k' here: choose from guidance, steps, sampler, grid, percentile, clip"),
        (("--int8",), "is a checkpoint of imagen: int8 is for decoding, so for dalle alone."),
        (("--set", "grid=square"), "grid must be one of even, karras, not 'square'"),
        (("--guidance", -1), "guidance must be at least 0 and finite, not -1.0."),
        (("--guidance", "inf"), "guidance must be at least 0 and finite, not inf."),
        (("--steps", 2000), "steps must be from 1 to 1000"),
        (("--set", "sampler=magic"), "no sampler 'magic'"),
        (("--upscale", 0, "--upsampler", "any"), "would enlarge nothing: say with --upscale"),
        (("--upsampler", "no-such-checkpoint"), "no-such-checkpoint"),
        (("--upscale", 1024), "this upsampler makes pictures of 32 px"),
        (("--recipe", "dalle"), "is a checkpoint of imagen, not of dalle"),
        (("--set", "percentile=7"), "percentile must be from 0 to 1"),
        (("--set", "spacing=fast27"), "there is no setting 'spacing' here"),
        (("--set", "augmentation=2"), "augmentation must be from 0 to 1, not 2."),
        (("--set", "upsampler_steps=2.5"), "upsampler_steps must be a whole number, not 2.5."),
        (
            ("--upscale", 0, "--set", "augmentation=0.1"),
            "augmentation is a setting of the upsampler: only `eval ",
        ),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    cli: Cli, checkpoint: Path, tmp_path: Path, options: tuple[object, ...], told: str
) -> None:
    done = cli("paint", "a red cat", "--checkpoint", checkpoint, "--out", tmp_path, *options)
    assert done.code != 0 and told in done.err and "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_another_recipe_is_refused_before_its_networks_are_opened(
    cli: Cli, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a network was opened")

    monkeypatch.setattr("pinxit.recipes.imagen.open.open_painter", opened)
    done = cli("paint", "a red cat", "--checkpoint", checkpoint, "--recipe", "dalle")
    assert done.code == 2 and f"{checkpoint} is a checkpoint of imagen, not of dalle." in done.err


def test_dalle_knows_no_steps_and_imagen_completes_nothing(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    dalle = tmp_path / "dalle"
    save_random_checkpoint(dalle)
    done = cli("paint", "a red cat", "--checkpoint", dalle, "--steps", 4, "--out", tmp_path / "out")
    assert done.code != 0 and "there is no setting 'steps' here" in done.err
    (picture,) = paint(cli, checkpoint, tmp_path / "painted", "--keep", 1)
    done = cli("complete", picture, "a red cat", "--keep-rows", 2, "--checkpoint", checkpoint)
    assert done.code != 0 and "cannot complete a picture" in done.err


def test_words_that_the_reader_does_not_know_are_reported(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    """A prompt in a script that it does not read would otherwise paint anything without a word."""
    done = cli("paint", "a red 猫", "--candidates", 1, "--checkpoint", checkpoint, "--out", tmp_path)
    assert done.code == 0 and "has never met '猫' in training and will guess" in done.err


def test_a_missing_reader_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    folder = save_random_imagen(tmp_path / "nano")
    for file in (tmp_path / "reader").glob("*"):
        file.unlink()
    done = cli("paint", "a red cat", "--checkpoint", folder, "--out", tmp_path / "out")
    assert done.code != 0 and "Traceback" not in done.err
    assert done.err.strip().endswith("reader holds no text encoder: it has no config.json.")

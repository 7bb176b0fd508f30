"""`pinxit vary`, `blend`, `shift`, `reconstruct` and `edit` as they are typed, with whatever pictures users have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pinxit.api import load
from pinxit.cli.manipulation import DDIM_STEPS, DRAWN
from pinxit.data.decode import read_picture
from pinxit.data.masks import mask_in
from pinxit.data.problems import ItemError
from pinxit.pictures import read_metadata
from pinxit.recipes.jobs import Watch
from pinxit.recipes.unclip.inversion import STEPS
from pinxit.recipes.unclip.painter import UnclipPainter
from tests.cli.helpers import Cli

pytest.importorskip("transformers")
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.unclips import save_random_unclip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_unclip(tmp_path_factory.mktemp("unclip") / "nano", "decoder.unet.masked=4")


def noise(height: int, width: int, channels: int = 3) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(values if channels > 1 else values[:, :, 0])


def pictures(folder: Path) -> dict[str, Path]:
    """One of each kind that users have: turned by EXIF, with alpha, CMYK, 16 bits, grey, a palette."""
    found = {name: folder / name for name in ("turned.jpg", "alpha.png", "cmyk.jpg", "deep.png", "grey.png", "gif.gif")}
    exif = Image.Exif()
    exif[0x0112] = 6  # upright when turned a quarter
    noise(20, 30).save(found["turned.jpg"], exif=exif)
    noise(20, 30, 4).save(found["alpha.png"])
    noise(20, 30).convert("CMYK").save(found["cmyk.jpg"])
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(found["deep.png"])
    noise(20, 30, 1).save(found["grey.png"])
    noise(20, 30).convert("P").save(found["gif.gif"])
    return found


def run(cli: Cli, checkpoint: Path, out: Path, *words: object) -> dict[str, list[str]]:
    done = cli(*words, "--checkpoint", checkpoint, "--json", "--out", out)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    found: dict[str, list[str]] = json.loads(done.out)
    return found


def test_any_picture_is_taken_a_painted_one_too(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    painted = run(cli, checkpoint, tmp_path / "painted", "paint", "a cat", "--candidates", 1, "--steps", 2)
    every = pictures(tmp_path) | {"painted.png": Path(painted["pictures"][0]["path"])}  # type: ignore[index]
    for name, path in every.items():
        found = run(cli, checkpoint, tmp_path / "out", "vary", path, "--count", 1, "--set", "steps=2", "--upscale", 0)
        assert read_picture(Path(found["pictures"][0])).shape == (16, 16, 3), name
        facts = read_metadata(Path(found["pictures"][0]))
        assert facts["made_by"] == "vary" and facts["given"][0]["of"] == path.name and facts["seed"] == 0


def test_variations_are_those_of_the_api(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    """Enlarged with the noise of their candidates, whichever places CLIP gives them."""
    path, painter = pictures(tmp_path)["grey.png"], load(checkpoint, device="cpu")
    assert isinstance(painter, UnclipPainter)
    found = run(cli, checkpoint, tmp_path / "out", "vary", path, "--set", "steps=2", "--seed", 3, "--upscale", 32)
    ranked = painter.vary(read_picture(path), seed=3, steps=2, upsampler=painter.upsampler)
    assert [one.candidate for one in ranked] != sorted(one.candidate for one in ranked), "else places are candidates"
    for file, one in zip(found["pictures"], ranked, strict=True):
        assert np.array_equal(read_picture(Path(file)), one.picture)


def test_a_mask_that_keeps_nothing_is_warned_of(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    """White strokes on a transparent layer look like a mask, and are white everywhere."""
    strokes = np.full((8, 8, 4), 255, np.uint8)
    strokes[:4, :, 3] = 0
    Image.fromarray(strokes).save(tmp_path / "strokes.png")
    noise(8, 8).save(tmp_path / "shown.png")
    words = ("--mask", tmp_path / "strokes.png", "--candidates", 1, "--set", "steps=1", "--upscale", 0)
    done = cli("edit", tmp_path / "shown.png", "a cat", *words, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    assert done.code == 0 and "the mask is white everywhere" in done.err


def test_an_edit_keeps_any_pictures_own_pixels(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    """At the size that it has once it stands upright; the mask is of that size."""
    for name, path in pictures(tmp_path).items():
        whole = read_picture(path)
        paint = np.zeros(whole.shape[:2], bool)
        paint[4:12, 6:15] = True
        Image.fromarray(paint).save(tmp_path / "mask.png")
        words = ("edit", path, "a cat", "--mask", tmp_path / "mask.png", "--candidates", 1, "--set", "steps=2")
        (found,) = run(cli, checkpoint, tmp_path / "out", *words)["pictures"]
        edited = read_picture(Path(found["path"]))  # type: ignore[index]
        assert edited.shape == whole.shape == ((30, 20, 3) if name == "turned.jpg" else (20, 30, 3))
        assert np.array_equal(edited[~paint], whole[~paint]), name
        assert (edited[paint] != whole[paint]).any()


def test_the_usual_steps_are_those_of_the_api() -> None:
    """Written again for `--help`, which imports no painter."""
    assert DDIM_STEPS == STEPS


def test_a_strip_has_the_ends_that_were_given(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    one, other = pictures(tmp_path)["grey.png"], pictures(tmp_path)["cmyk.jpg"]
    few = ("--ddim-steps", 3, "--upscale", 0)
    way = run(cli, checkpoint, tmp_path / "out", "blend", one, other, "--steps", 3, *few)
    ends = [run(cli, checkpoint, tmp_path / "out", "reconstruct", path, *few)["pictures"][0] for path in (one, other)]
    for place, end in ((0, ends[0]), (-1, ends[1])):
        assert np.array_equal(read_picture(Path(way["pictures"][place])), read_picture(Path(end)))
    sheet = read_picture(Path(str(way["sheet"])))
    assert sheet.shape[1] > 5 * 16 and way["labels"] == ["0.00", "0.50", "1.00"]
    large = run(cli, checkpoint, tmp_path / "large", "shift", one, "a cat", "a dog", "--steps", 2, "--ddim-steps", 3)
    assert [read_picture(Path(path)).shape for path in large["pictures"]] == [(32, 32, 3)] * 2
    assert read_metadata(Path(large["pictures"][0]))["upscale"] == 32
    rows = [("blend", one, other), ("shift", one, "a cat", "a dog")]
    for words in rows:
        long = run(cli, checkpoint, tmp_path / "long", *words, "--steps", 6, *few)
        height, width, _ = read_picture(Path(str(long["sheet"]))).shape
        assert width > 3 * height, f"{words[0]} is one row"


def test_the_bar_moves_while_pictures_are_enlarged(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []

    @contextmanager
    def painting(*_: object) -> Iterator[Watch]:
        yield lambda painted: shares.append(painted.share)

    monkeypatch.setattr("pinxit.cli.progress.painting", painting)
    noise(32, 32).save(tmp_path / "a.png")
    run(cli, checkpoint, tmp_path / "out", "vary", tmp_path / "a.png", "--count", 1, "--set", "steps=1")
    assert shares == sorted(shares) and shares[-1] == 1 and any(DRAWN < share < 1 for share in shares)


def test_more_is_painted_around_a_picture(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    path = pictures(tmp_path)["grey.png"]
    words = ("edit", path, "a cat", "--outpaint", "4,0,6,2", "--candidates", 1, "--set", "steps=2")
    (found,) = run(cli, checkpoint, tmp_path / "out", *words)["pictures"]
    larger = read_picture(Path(found["path"]))  # type: ignore[index]
    assert larger.shape == (22, 40, 3) and np.array_equal(larger[:20, 4:34], read_picture(path))


def test_what_makes_no_sense_is_one_sentence(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    path = pictures(tmp_path)["grey.png"]
    white, black, wrong = (tmp_path / f"{name}.png" for name in ("white", "black", "wrong"))
    Image.new("L", (30, 20), 255).save(white)
    Image.new("L", (30, 20), 0).save(black)
    Image.new("L", (20, 30), 255).save(wrong)
    save_random_checkpoint(tmp_path / "dalle")
    cases: list[tuple[tuple[object, ...], str]] = [
        (("edit", path, "a cat", "--mask", wrong), "the mask has 20 x 30 pixels and the picture 30 x 20"),
        (("edit", path, "a cat", "--mask", black), "keeps the whole picture: white says where to paint"),
        (("edit", path, "a cat", "--mask", path), "is no mask: draw one in black and white"),
        (("edit", path, "a cat"), "give exactly one of --mask and --outpaint"),
        (("edit", path, "a cat", "--mask", white, "--outpaint", "1,1,1,1"), "give exactly one of"),
        (("edit", path, "a cat", "--outpaint", "1,1"), "--outpaint must be four whole numbers"),
        (("edit", path, "a cat", "--outpaint", "0,0,0,0"), "outpainting adds pixels"),
        (("edit", path, "a cat", "--outpaint", "9000,9000,9000,9000"), "18030 x 18020 pixels is too large: add fewer"),
        (("edit", path, "a cat", "--outpaint", f"{10**30},0,0,0"), "pixels is too large: add fewer"),
        (("edit", path, " ", "--mask", white), "the prompt is empty"),
        (("vary", tmp_path / "none.png"), "none.png: cannot be read"),
        (("vary", tmp_path / "dalle" / "pinxit.json"), "is not a picture of a known format"),
        (("vary", path, "--count", 3, "--candidates", 2), "--candidates 2 is less than --count 3: draw as many"),
        (("vary", path, "--ddim-steps", 9), "--ddim-steps changes nothing without --eta, as no picture is inverted"),
        (("blend", path, path, "--fresh", "--ddim-steps", 9), "--ddim-steps changes nothing with --fresh"),
        (("reconstruct", path, "--components", "2", "--ddim-steps", 9), "--ddim-steps changes nothing with --comp"),
        (("vary", path, "--upscale", 99), "this upsampler makes pictures of 32 px"),
        (("vary", path, "--set", "magic=1"), "no setting 'magic'"),
        (
            ("vary", path, "--eta", 0.3, "--set", "guidance=3"),
            "guidance has no effect on pictures drawn from a picture's inverted",
        ),
        (
            ("vary", path, "--set", "tries=3"),
            "tries has no effect on pictures drawn from a picture's embedding",
        ),
        (
            ("blend", path, path, "--set", "steps=3"),
            "steps has no effect on pictures drawn from a picture's",
        ),
        (
            ("reconstruct", path, "--set", "steps=3"),
            "steps has no effect on pictures drawn from a picture's",
        ),
        (("shift", path, "a cat", "a cat"), "no direction from one to the other"),
        (("shift", path, "a cat " * 100, "a dog"), "shorten it"),
        (("reconstruct", path, "--components", "2,x"), "--components must be whole numbers"),
        (("reconstruct", path, "--components", "2,99"), "has 6 components: 99 cannot be kept"),
    ]
    for words, told in cases:
        done = cli(*words, "--checkpoint", checkpoint, "--out", tmp_path / "out")
        assert done.code != 0 and told in done.err and "Traceback" not in done.err, (words, done.err)
        assert len(done.err.strip().splitlines()) == 1 or "%" in done.err
        assert not (tmp_path / "out").exists(), "nothing is left of what was refused"
    other = cli("vary", path, "--checkpoint", tmp_path / "dalle", "--out", tmp_path / "out")
    assert other.code == 2 and "has no picture embeddings: choose a checkpoint of unclip" in other.err


def test_masks_as_they_are_drawn(tmp_path: Path) -> None:
    """White is painted; what is transparent counts as white; soft edges are cut at the middle."""
    soft = np.zeros((20, 30), np.uint8)
    soft[5:15, 5:15], soft[5, 5:15] = 255, 128
    Image.fromarray(soft).save(tmp_path / "soft.png")
    assert mask_in(read_picture(tmp_path / "soft.png"), "mask.png").paint.sum() == 100
    alpha = np.zeros((20, 30, 4), np.uint8)
    alpha[:, :, 3] = np.where(soft, 0, 255)
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    assert np.array_equal(mask_in(read_picture(tmp_path / "alpha.png"), "mask.png").paint, soft > 0)
    Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8)).save(tmp_path / "red.png")
    with pytest.raises(ItemError, match="is no mask"):
        mask_in(read_picture(tmp_path / "red.png"), "mask.png")

"""The article's questions can be asked of any unCLIP: every one answers, and rests on what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.unclip_findings import main, things_and_colours

from pinxit.data.decode import read_picture
from pinxit.world.expectations import ExpectedObject, ExpectedRelation, ExpectedScene

pytest.importorskip("transformers")
from tests.recipes.unclips import save_random_unclip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_unclip(tmp_path_factory.mktemp("unclip") / "nano", "decoder.unet.masked=4"))


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    main(words)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("prior", "nobody"), "there is no checkpoint 'nobody'"),
        (("components", "nobody", "--kept", "4,a"), "invalid whole_numbers value: '4,a'"),
        (("variations", "nobody", "--guidance", ""), "invalid numbers value: ''"),
        (("prior", "nobody", "--shelf", "0"), "invalid at_least_one value: '0'"),
        (("components", "nobody", "--sheet", "/"), "cannot write /: it is a folder"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert told in capsys.readouterr().err


def test_every_question_has_its_lines(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ("--prompts", "2")
    found = ask(capsys, "prior", checkpoint, *few, "--shelf", "4")
    assert [line.split(":")[0].split("=")[-1] for line in found if "withheld" in line] == [
        "none, text withheld", "prior, text withheld", "components, text withheld", "true embeddings, text withheld"
    ]  # fmt: skip
    assert "PSNR to the true picture" in found[4] and found[5].startswith("nearest of 4 other pictures")
    found = ask(capsys, "neighbours", checkpoint, *few)
    assert "of 2 sentences rightly among four pictures" in found[0] and len(found) == 3
    found = ask(capsys, "diversity", checkpoint, "--prompts", "1", "--beside", "", "--guidance", "1,2")
    assert [line.split(":")[0].split(", ")[1] for line in found] == ["guidance 1", "guidance 2"]
    sheet = tmp_path / "sheet.png"
    found = ask(capsys, "components", checkpoint, *few, "--kept", "0,6", "--sheet", str(sheet))
    assert [line.split(":")[0] for line in found] == ["0 components", "6 components"]
    assert read_picture(sheet).shape[0] > 100
    varying = ("--guidance", "1,5", "--candidates", "3", "--sheet", str(tmp_path / "varied.png"))
    found = ask(capsys, "variations", checkpoint, *few, *varying)
    assert [line.split(":")[0] for line in found] == [
        "true pictures", "guidance 1, one", "guidance 1, best of 3", "guidance 5, one", "guidance 5, best of 3"
    ]  # fmt: skip
    assert len({line.split(":")[1] for line in found[1:]}) > 2 and "things and colours" in found[0]
    four, three = (read_picture(tmp_path / name).shape[1] for name in ("varied.png", "sheet.png"))  # columns
    assert four > 1.2 * three
    found = ask(capsys, "inversion", checkpoint, *few, "--steps", "3,15")
    less, more = (float(line.split("PSNR ")[1].split(" ")[0]) for line in found)
    assert more > less
    found = ask(capsys, "exact", checkpoint, *few, "--steps", "4")
    assert found[0].startswith("2 of 2 blends end") and found[1].startswith("2 of 2 edits keep")
    assert float(found[1].split("inside ")[1].split(" ")[0]) > 0.5


def test_things_and_colours_are_asked_for_without_places_sizes_and_styles() -> None:
    told = ExpectedScene(
        (ExpectedObject("cat", "red", 2, exactly=True, size="small"), ExpectedObject("dog", form="circle")),
        (ExpectedRelation(0, "left of", 1),), "snow", "sketch", "sketch", "close-up", "night",
    )  # fmt: skip
    left = (ExpectedObject("cat", "red", 2, exactly=True), ExpectedObject("dog", form="circle"))
    assert things_and_colours(told) == ExpectedScene(left)


def test_settings_of_the_painter_can_be_changed(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("variations", checkpoint, "--prompts", "2", "--guidance", "3")
    usual, fewer, same = (ask(capsys, *asked, *more) for more in ((), ("--set", "steps=2"), ("--set", "steps=4")))
    assert usual == same != fewer


def test_other_painters_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("prior", "tiny"))
    assert "tiny is no unCLIP" in capsys.readouterr().err

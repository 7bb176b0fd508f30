"""The checkpoint that comes with the package, painting as a user would have it paint."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import pinxit
from pinxit.data.transforms import square_crop
from pinxit.errors import CheckpointError
from pinxit.evaluation.geneval import complaints
from pinxit.evaluation.measures import psnr
from pinxit.evaluation.questions import Exam, questions, true_picture
from pinxit.recipes.judge.judge import Judge
from pinxit.recipes.painting import Painter
from pinxit.recipes.unclip.painter import UnclipPainter
from pinxit.world.expectations import ExpectedObject, ExpectedRelation, ExpectedScene

ROOT = Path(__file__).parents[1]
MOST_MEMORY = 1.5 * 2**30
PLAIN = {  # sentences on plain white that anybody would try first
    "three green triangles on a white background": ExpectedScene(
        (ExpectedObject("triangle", "green", 3, True),), place="white"
    ),
    "an orange circle to the left of a purple square on a white background": ExpectedScene(
        (ExpectedObject("circle", "orange"), ExpectedObject("square", "purple")),
        (ExpectedRelation(0, "left of", 1),),
        place="white",
    ),
}


@pytest.fixture(scope="module")
def painter() -> Painter:
    return pinxit.load("tiny", device="cpu")


MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "pinxit", *sys.argv[1:]], check=True, stdout=subprocess.PIPE, text=True)
print(done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, sep="")
"""
"""Paints and says last how much memory that took; a small process, since a child begins with its parent's peak."""


@pytest.mark.skipif(sys.platform == "win32", reason="a process is not told there what its child took")
def test_the_first_command_of_the_readme_paints(tmp_path: Path) -> None:
    """Sixteen candidates, four kept, a sheet that is named, within 1.5 GiB and without a word of warning."""
    told = re.search(r'^pip install .* && pinxit (paint) "(.+)"$', (ROOT / "README.md").read_text("utf-8"), re.M)
    assert told
    command = [sys.executable, "-c", MEASURED, *told.groups()]
    done = subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True)
    said, _, most = done.stdout.rstrip().rpartition("\n")
    assert int(most) * (1 if sys.platform == "darwin" else 1024) < MOST_MEMORY
    (sheet,) = tmp_path.rglob("sheet.png")
    assert str(sheet.relative_to(tmp_path)) in re.sub(r"\s", "", said)
    kept = sorted(sheet.parent.glob("[0-9][0-9]-*.png"))
    assert len(kept) == 4
    with Image.open(kept[0]) as picture:
        assert picture.size == (72, 72) and {int(one.stem.split("candidate")[1]) for one in kept} <= set(range(16))


def test_its_pictures_do_not_depend_on_company(painter: Painter) -> None:
    prompt = "two yellow stars and a blue cube"
    alone = painter.paint(prompt, candidates=3, keep=None, seed=5)
    crowd = painter.paint_many([("a fox", 5), (prompt, 5)], candidates=5, keep=None)[1]
    pictures = {one.candidate: one.picture for one in crowd}
    assert all((one.picture == pictures[one.candidate]).all() for one in alone)


@pytest.mark.parametrize("prompt", PLAIN)
def test_plain_sentences_are_obeyed(painter: Painter, prompt: str) -> None:
    """By the judge: some picture that is kept shows the things, colours, numbers, places and the white ground."""
    kept = painter.paint(prompt, candidates=16, keep=4, seed=0)
    detected = Judge.open("judge", "cpu").detect([one.picture for one in kept])
    assert any(not complaints(detections, PLAIN[prompt]) for detections in detected)


def test_a_shown_picture_is_drawn_again_without_a_word() -> None:
    """By the shipped unCLIP, from the embedding alone: the judge finds what is asked for, and it is no copy."""
    painter = pinxit.load("unclip-tiny", device="cpu")
    assert isinstance(painter, UnclipPainter)
    # Of two different things: a plain shape on a plain ground leaves little that may differ.
    asked = questions(Exam("small", "unseen", 3, tasks=("two objects",)))
    shown = [true_picture(one, 72) for one in asked]
    varied = [[each.picture for each in painter.vary(one, count=2, seed=1)] for one in shown]
    judge, right = Judge.open("judge", "cpu"), 0
    for one, true, some in zip(asked, shown, varied, strict=True):
        right += any(not complaints(seen, one.expected) for seen in judge.detect(some))
        assert all(psnr(each, square_crop(true, each.shape[0], "area")) < 20 for each in some)
    assert right >= 2, right


def test_the_names_that_are_advised_can_be_opened() -> None:
    with pytest.raises(CheckpointError, match=r"there is no CLIP 'none-such'.*\((.+)\)") as refused:
        pinxit.load_clip("none-such")
    names = re.findall(r"\(([^()]+)\)", str(refused.value))[0].split(", ")
    assert "tiny" in names
    for name in names:
        pinxit.load_clip(name, device="cpu")

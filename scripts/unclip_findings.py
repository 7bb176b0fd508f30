"""What the unCLIP article found, asked of any unCLIP checkpoint on the built-in world.

    python -m scripts.unclip_findings prior CHECKPOINT --prompts 120
    python -m scripts.unclip_findings neighbours CHECKPOINT --prompts 200
    python -m scripts.unclip_findings diversity CHECKPOINT --beside imagen-tiny --guidance 1,2,3,5
    python -m scripts.unclip_findings components CHECKPOINT --kept 0,4,8,16,32,64 --sheet components.png
    python -m scripts.unclip_findings variations CHECKPOINT --guidance 1,3 --sheet variations.png
    python -m scripts.unclip_findings inversion CHECKPOINT --prompts 50
    python -m scripts.unclip_findings exact CHECKPOINT --prompts 6 --steps 50

prior: is a prior needed, and which one? The judge looks at single pictures drawn from the caption's own embedding, from
each prior's, and from the true picture's, with the decoder's text withheld, so that nothing but the embedding tells it
what to draw; and with its text. From true embeddings these are variations: beside them stand the nearest of other
pictures, and how close to a copy they are. neighbours: whether a prior's sample lies nearer to the true picture's
embedding than to those of scenes that differ in one told fact. diversity: how unlike the pictures of one sentence are
while guidance rises, beside another painter's. components: what the first principal components of an embedding hold.
variations: how many pictures with a true picture's embedding show what it shows (all that its caption tells; its
things with their colours and numbers), while guidance rises: a single one, and the most similar of `--candidates`.
inversion: how well a picture comes back from the noise behind it. exact: whether a blend ends in the very
reconstructions of its inputs, and whether an edit leaves every pixel outside its mask.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import pinxit
from pinxit.cli.painter_settings import settings_of
from pinxit.data.sheet import sheet
from pinxit.data.transforms import square_crop
from pinxit.errors import PinxitError
from pinxit.evaluation.geneval import complaints
from pinxit.evaluation.measures import psnr
from pinxit.evaluation.questions import Exam, Question, judged_by, questions, true_picture
from pinxit.files import check_file
from pinxit.pictures import write_png
from pinxit.recipes.judge.judge import Judge
from pinxit.recipes.unclip.painter import UnclipPainter
from pinxit.recipes.unclip.settings import prior_sampling
from pinxit.types import Mask
from pinxit.world.dice import Dice
from pinxit.world.draw import render
from pinxit.world.expectations import ExpectedScene
from pinxit.world.neighbours import neighbours
from pinxit.world.plan import meaning
from pinxit.world.vocabulary import lexicon
from pinxit.world.world import World

if TYPE_CHECKING:
    from pinxit.recipes.painting import Painter
    from pinxit.types import Picture, Ranked

BLIND: dict[str, Any] = {"text": False}


class PaintRequest:
    """The questions, their true pictures, and who judges."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.judge = Judge.open(options.judge or {"small": "judge"}.get(options.world, f"judge-{options.world}"))
        tasks = judged_by(self.judge.attributes, options.world)
        self.exam = Exam(options.world, options.split, options.prompts, tasks=tasks)
        self.questions: list[Question] = questions(self.exam)
        self.prompts = [(one.prompt, one.seed) for one in self.questions]
        self.true = [true_picture(one, 72) for one in self.questions]

    def right(self, pictures: Sequence[Picture], told: Callable[[ExpectedScene], ExpectedScene] | None = None) -> float:
        """The share of pictures, one a question, in which the judge finds what is asked for, or the part `told`."""
        sights = self.judge.detect(pictures)
        wanted = [told(one.expected) if told else one.expected for one in self.questions]
        found = [not complaints(sight, one) for sight, one in zip(sights, wanted, strict=True)]
        return sum(found) / len(found)


def things_and_colours(expected: ExpectedScene) -> ExpectedScene:
    """What is expected without places, styles, grounds and sizes."""
    return ExpectedScene(tuple(replace(one, size=None) for one in expected.objects))


def prior(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace) -> None:
    """A line for each source of embeddings."""
    print(f"true pictures: {asked.right(asked.true):.3f} of {len(asked.true)} right")
    for name in ("none", *painter.priors):
        drawn = painter.paint_many(asked.prompts, candidates=1, prior=name, **BLIND)
        print(f"prior={name}, text withheld: {asked.right(first(drawn)):.3f}", flush=True)
    seeds = [one.seed for one in asked.questions]
    varied = first(painter.vary_many(list(zip(asked.true, seeds, strict=True)), count=1))
    near = [psnr(one, square_crop(true, painter.size, "area")) for one, true in zip(varied, asked.true, strict=True)]
    print(f"true embeddings, text withheld: {asked.right(varied):.3f}; PSNR to the true picture {fmean(near):.1f} dB")
    print(f"nearest of {options.shelf} other pictures: {asked.right(looked_up(painter, asked, options)):.3f}")
    for name in ("none", *painter.priors):
        drawn = painter.paint_many(asked.prompts, candidates=1, prior=name)
        print(f"prior={name}, with text: {asked.right(first(drawn)):.3f}", flush=True)


def looked_up(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace) -> list[Picture]:
    """For each true picture the one of a shelf that CLIP finds the most alike."""
    world = World(options.world, "train", seed=1)
    shelf = [render(world.scene(index), 72) for index in range(options.shelf)]
    likest = (painter.embedder.pictures(asked.true) @ painter.embedder.pictures(shelf).T).argmax(1)
    return [shelf[place] for place in likest.tolist()]


def neighbouring(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace) -> None:
    """Of each prior: how often its sample tells the true picture from its neighbours."""
    rightly, nearer = 0, dict.fromkeys(painter.priors, 0)
    for one in asked.questions:
        dice = Dice("findings", asked.exam.preset, asked.exam.split, asked.exam.seed, one.key)
        around = neighbours(one.scene, meaning(one.scene), lexicon(asked.exam.preset), asked.exam.split, dice, 3)
        if not around:
            continue
        seen = painter.embedder.pictures([render(scene, 72) for scene in (one.scene, *around)])
        told = painter.embedder.conditions(one.prompt)
        if int((seen @ told["pooled"]).argmax()):
            continue  # CLIP itself mistakes it
        rightly += 1
        for name, imagine in painter.priors.items():
            about = prior_sampling(painter.settled({"prior": name}))
            nearer[name] += int((seen @ imagine(told, about, one.seed)).argmax()) == 0
    print(f"CLIP ranks {rightly} of {len(asked.questions)} sentences rightly among four pictures")
    for name, count in nearer.items():
        print(f"{name}: nearest to the true one in {count / max(rightly, 1):.3f} of them")


def diversity(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace) -> None:
    """A line for each painter and each guidance."""
    beside = [pinxit.load(name) for name in options.beside.split(",") if name]
    for one in (painter, *beside):
        for guidance in options.guidance:
            tell_diversity(painter, one, asked, guidance)


def tell_diversity(
    painter: UnclipPainter, one: Painter, asked: PaintRequest, guidance: float, candidates: int = 6
) -> None:
    """How unlike each other pictures of one sentence are to CLIP, how like the sentence, how many are right."""
    drawn = one.paint_many(asked.prompts, candidates=candidates, keep=None, guidance=guidance, agreement=0.0)
    unlike, alike, right = [], [], []
    for place, some in enumerate(drawn):
        pictures = [each.picture for each in sorted(some, key=lambda each: each.candidate)]
        seen = painter.embedder.pictures(pictures)
        unlike += [1 - float(a @ b) for a, b in combinations(seen, 2)]
        alike.append(float((seen @ painter.embedder.captions([asked.prompts[place][0]])[0]).mean()))
        sights = asked.judge.detect(pictures)
        right += [not complaints(sight, asked.questions[place].expected) for sight in sights]
    told = f"{one.name}, guidance {guidance:g}: apart {fmean(unlike):.3f}, alignment {fmean(alike):.3f}"
    print(f"{told}, judge {sum(right) / len(right):.3f}", flush=True)


def components(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace) -> None:
    """What the judge finds in pictures from the first components, and a sheet of some."""
    kept = options.kept
    views = [painter.reconstruct(one, components=kept, seed=options.seed) for one in asked.true]
    for place, count in enumerate(kept):
        print(f"{count} components: {asked.right([some[place] for some in views]):.3f}", flush=True)
    labels = ["true", *(f"{count} components" for count in kept)]
    leave_sheet(painter, asked.true, views, labels * len(views), options)


def variations(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace, shown: int = 3) -> None:
    """How many variations are right, and how close to a copy they are, for each guidance; a sheet of the last's."""
    given = [(true, one.seed) for true, one in zip(asked.true, asked.questions, strict=True)]
    own = [square_crop(true, painter.size, "area") for true in asked.true]
    told = f"{asked.right(asked.true):.3f}, things and colours {asked.right(asked.true, things_and_colours):.3f}"
    print(f"true pictures: right {told}", flush=True)
    drawn: list[list[Ranked]] = []
    for guidance in options.guidance:
        drawn = painter.vary_many(given, count=options.candidates, guidance=guidance)
        ranks = [[some[place].picture for some in drawn] for place in range(options.candidates)]
        for name, found in (("one", ranks), (f"best of {options.candidates}", ranks[:1])):
            right = fmean(map(asked.right, found))
            things = fmean(asked.right(pictures, things_and_colours) for pictures in found)
            near = fmean(psnr(*pair) for pictures in found for pair in zip(pictures, own, strict=True))
            told = f"right {right:.3f}, things and colours {things:.3f}; PSNR to the true picture {near:.1f} dB"
            print(f"guidance {guidance:g}, {name}: {told}", flush=True)
    labels = [label for one in asked.questions for label in (one.prompt, *[""] * shown)]
    varied = [[one.picture for one in sorted(some, key=lambda one: one.candidate)[:shown]] for some in drawn]
    leave_sheet(painter, asked.true, varied, labels, options)


def leave_sheet(
    painter: UnclipPainter,
    true: Sequence[Picture],
    drawn: Sequence[Sequence[Picture]],
    labels: Sequence[str],
    options: argparse.Namespace,
) -> None:
    """Write a row of pictures for each of the first eight true ones, if a sheet is wanted."""
    if options.sheet:
        rows = [[square_crop(one, painter.size, "area"), *some] for one, some in zip(true, drawn, strict=True)][:8]
        columns = len(rows[0])
        pictures = [one for row in rows for one in row]
        write_png(Path(options.sheet), sheet(pictures, labels[: len(pictures)], columns=columns))


def inversion(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace) -> None:
    """PSNR of pictures drawn from the noise behind them."""
    true = [square_crop(one, painter.size, "area") for one in asked.true]
    for steps in options.steps:
        found = painter.decode(painter.invert(true, ddim_steps=steps), ddim_steps=steps)
        quality = sorted(psnr(one, other) for one, other in zip(found, true, strict=True))
        middle = quality[len(quality) // 2]
        print(f"{steps} steps: PSNR {fmean(quality):.1f} dB, middle {middle:.1f}, least {quality[0]:.1f}", flush=True)


def exact(painter: UnclipPainter, asked: PaintRequest, options: argparse.Namespace) -> None:
    """How many blends and how many edits keep what they have to keep, bit for bit."""
    steps, size = options.steps[0], asked.true[0].shape[0]
    paint = np.zeros((size, size), bool)
    paint[size // 4 : size * 3 // 4, size // 3 :] = True
    again = painter.decode(painter.invert(asked.true, ddim_steps=steps), ddim_steps=steps)
    ended, kept, changed = 0, 0, []
    for place, (one, text) in enumerate(zip(asked.true, asked.prompts, strict=True)):
        other = (place + 1) % len(again)
        way = painter.blend(one, asked.true[other], count=3, ddim_steps=steps)
        ended += np.array_equal(way[0], again[place]) and np.array_equal(way[-1], again[other])
        edited = painter.edit(one, Mask(paint), text[0], candidates=1, seed=text[1])[0].picture
        kept += np.array_equal(edited[~paint], one[~paint])
        changed.append(float((edited[paint] != one[paint]).any(1).mean()))
    print(f"{ended} of {len(again)} blends end in the reconstructions of both inputs, bit for bit")
    print(f"{kept} of {len(again)} edits keep every pixel outside the mask; inside {fmean(changed):.3f} changed")


def first(drawn: Sequence[Sequence[pinxit.types.Ranked]]) -> list[Picture]:
    """The best of each."""
    return [some[0].picture for some in drawn]


QUESTIONS = {
    "prior": prior,
    "neighbours": neighbouring,
    "diversity": diversity,
    "components": components,
    "variations": variations,
    "inversion": inversion,
    "exact": exact,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask one of the questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("checkpoint", help="an unCLIP: a shipped name or a folder")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--world", choices=("small", "gallery"), default="small")
    parser.add_argument("--split", default="unseen")
    parser.add_argument("--judge", default="", help="the world's own unless given")
    parser.add_argument("--shelf", type=at_least_one, default=2000, help="pictures `prior` looks up the nearest among")
    parser.add_argument("--beside", default="imagen-tiny", help="painters that `diversity` compares with")
    parser.add_argument("--guidance", type=numbers, default="1,2,3,5", help="of `diversity` and `variations`")
    parser.add_argument("--candidates", type=int, default=4, help="pictures that `variations` draws of each")
    parser.add_argument("--kept", type=whole_numbers, default="0,4,8,16,32,64", help="numbers of `components`")
    parser.add_argument("--seed", type=int, default=0, help="of the noise of `components`")
    parser.add_argument("--steps", type=whole_numbers, default="50,100", help="of `inversion`; `exact` takes the first")
    parser.add_argument("--sheet", default="", help="where `components` and `variations` leave a sheet")
    parser.add_argument("--set", action="append", default=[], help="a setting of the painter, e.g. tries=2")
    options = parser.parse_args(arguments)
    try:
        check_file(Path(options.sheet) if options.sheet else None)
        painter = pinxit.load(options.checkpoint)
        if not isinstance(painter, UnclipPainter):
            parser.error(f"{options.checkpoint} is no unCLIP")
        painter.defaults = painter.settled(settings_of(options.set))
        with torch.inference_mode():
            QUESTIONS[options.question](painter, PaintRequest(options), options)
    except PinxitError as error:
        parser.error(str(error))


def numbers(text: str) -> list[float]:
    """The numbers of "1,2.5"."""
    return [float(part) for part in text.split(",")]


def whole_numbers(text: str) -> list[int]:
    """The numbers of "1,2"."""
    return [int(part) for part in text.split(",")]


def at_least_one(text: str) -> int:
    """A number of at least 1."""
    if (found := int(text)) < 1:
        raise ValueError(text)
    return found


if __name__ == "__main__":
    main()

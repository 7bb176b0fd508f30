"""How much a sentence is worth to an Imagen's base: what its squared error of x0 loses by being told it.

    python -m scripts.caption_worth runs/frozen/checkpoint --words held-out

True pictures of `unseen` scenes under noise are denoised with no text, with the usual sentence, and with the same
sentence in other words (`held-out` nouns, or `paraphrased`). `kept` is the share of the usual sentence's worth that the
other words have: 1 where they are understood as well, 0 where they say nothing, below that where they mislead. It needs
no picture to be painted well, and so tells readers apart whose painters have hardly learned to draw.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import pinxit
from pinxit.evaluation.questions import Exam, Question, questions, true_picture
from pinxit.recipes.diffusion.conditions import texts
from pinxit.recipes.diffusion.inputs import signed
from pinxit.recipes.diffusion.painter import DiffusionPainter
from pinxit.world.tasks import task_prompt

SIGMAS = (2.0, 5.0, 10.0)  # where outlines and the layout are decided
AT_ONCE = 16


def main() -> None:
    """Print a line for each level of noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="an Imagen: a shipped name or a folder")
    parser.add_argument("--words", choices=("held-out", "paraphrased"), default="held-out")
    parser.add_argument("--prompts", type=int, default=240)
    options = parser.parse_args()
    painter = pinxit.load(options.checkpoint)
    if not isinstance(painter, DiffusionPainter):
        parser.error(f"{options.checkpoint} is no Imagen")
    asked = questions(Exam(words=options.words, prompts=options.prompts))
    print(f"{options.checkpoint}: {len(asked)} {options.words} prompts; squared error of x0")
    for sigma in SIGMAS:
        usual, other, none = errors(painter, asked, sigma)
        worth = none - usual
        told = f"usual words {usual:.5f} ({worth / none:.1%} less), {options.words} {other:.5f}"
        print(f"sigma {sigma:g}: no text {none:.5f}, {told}: kept {(none - other) / worth:.2f}")


@torch.inference_mode()
def errors(painter: DiffusionPainter, asked: list[Question], sigma: float) -> tuple[float, float, float]:
    """Mean squared errors of x0 by the usual sentences, by the exam's, and by none; the same noise for all three."""
    size, sums = painter.config.size, [0.0, 0.0, 0.0]
    generator = torch.Generator().manual_seed(0)
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        x0 = signed(torch.stack([torch.from_numpy(true_picture(one, size).copy()) for one in some]))
        x = x0 + sigma * torch.randn(x0.shape, generator=generator)
        usual = texts(painter.reader, [task_prompt(one.scene) for one in some])
        other = texts(painter.reader, [one.prompt for one in some])
        none = usual | {"mask": torch.zeros_like(usual["mask"])}
        for place, conditions in enumerate((usual, other, none)):
            sums[place] += float((_denoised(painter, x, sigma, conditions) - x0).square().mean((1, 2, 3)).sum())
    usual_error, other_error, none_error = (total / len(asked) for total in sums)
    return usual_error, other_error, none_error


def _denoised(painter: DiffusionPainter, x: Tensor, sigma: float, conditions: dict[str, Tensor]) -> Tensor:
    return painter.denoiser(x, torch.full((len(x),), sigma), conditions).x0


if __name__ == "__main__":
    main()

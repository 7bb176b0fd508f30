"""At which noise an Imagen's base loses its pictures: what the judge says where it goes on from a true one.

    python -m scripts.where_lost imagen-tiny --prompts 120

True pictures of `seen` scenes are put under noise and denoised from there by the base's own settings, without CLIP
guidance: it is the base that is asked. Under much noise nothing of the truth is left and the whole walk is the base's;
the share of right pictures falls where the base does not know what to draw, which is the noise that its training should
look at (`diffusion.p_mean`, `p_std`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

import pinxit
from pinxit.evaluation.geneval import complaints
from pinxit.evaluation.questions import Exam, Question, questions, true_picture
from pinxit.functional.guidance import Thresholding, guide, threshold
from pinxit.functional.samplers import SAMPLERS, Denoised, drive
from pinxit.recipes.diffusion.conditions import texts
from pinxit.recipes.diffusion.inputs import signed
from pinxit.recipes.diffusion.painter import DiffusionPainter, levels
from pinxit.recipes.diffusion.upsampler import as_picture
from pinxit.recipes.judge.judge import Judge
from pinxit.world.tasks import TASKS

SIGMAS = (0.5, 1.0, 2.0, 4.0, 8.0, 20.0, 100.0)
AT_ONCE = 24


def main() -> None:
    """Print a line for each level of noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="an Imagen: a shipped name or a folder")
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--judge", default="judge")
    options = parser.parse_args()
    painter = pinxit.load(options.checkpoint)
    if not isinstance(painter, DiffusionPainter):
        parser.error(f"{options.checkpoint} is no Imagen")
    judge, asked = Judge.open(options.judge), questions(Exam(split="seen", prompts=options.prompts, tasks=TASKS))
    true = [true_picture(one, painter.config.size) for one in asked]
    x0 = signed(torch.stack([torch.from_numpy(picture.copy()) for picture in true]))
    print(f"true pictures: {right(judge, asked, true):.2f} of {len(asked)} right")
    for sigma in SIGMAS:
        drawn = [as_picture(one) for one in gone_on(painter, asked, x0, sigma)]
        print(f"from sigma {sigma:g}: {right(judge, asked, drawn):.2f}", flush=True)


def right(judge: Judge, asked: Sequence[Question], pictures: Sequence[pinxit.types.Picture]) -> float:
    """The share of pictures that the judge finds right."""
    detected = judge.detect(pictures)
    return sum(not complaints(detections, one.expected) for detections, one in zip(detected, asked, strict=True)) / len(
        asked
    )


@torch.inference_mode()
def gone_on(painter: DiffusionPainter, asked: Sequence[Question], x0: Tensor, sigma: float) -> Tensor:
    """Pictures [B, 3, S, S] that the base makes of `x0` under noise of `sigma`."""
    about, generator, drawn = painter.defaults, torch.Generator().manual_seed(0), []
    steps = levels(painter.config.diffusion, about)
    sigmas = [sigma, *(level for level in steps if level < sigma)]
    for start in range(0, len(asked), AT_ONCE):
        clean = x0[start : start + AT_ONCE]
        told = texts(painter.reader, [one.prompt for one in asked[start : start + AT_ONCE]])

        def noise(clean: Tensor = clean) -> Tensor:
            return torch.randn(clean.shape, generator=generator)

        def denoise(x: Tensor, level: float, told: dict[str, Tensor] = told) -> Denoised:
            return Denoised(guided(painter, x, torch.full((len(x),), level), told))

        drawn.append(drive(SAMPLERS[about["sampler"]].run(clean + sigma * noise(), sigmas, noise), denoise))
    return torch.cat(drawn)


def guided(painter: DiffusionPainter, x: Tensor, level_B: Tensor, told: dict[str, Tensor]) -> Tensor:
    """What the base takes the clean pictures to be, by its own guidance and thresholding."""
    null = told | {"mask": torch.zeros_like(told["mask"])}
    with_text, without = (painter.denoiser(x, level_B, given).x0 for given in (told, null))
    found = guide(with_text, without, painter.defaults["guidance"])
    return threshold(found, Thresholding.of(painter.defaults["percentile"]))


if __name__ == "__main__":
    main()

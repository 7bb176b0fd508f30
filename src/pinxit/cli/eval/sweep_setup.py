"""The setup of `pinxit eval sweep`: a painter, possibly with upsampler, a judge, a CLIP for distances, an exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pinxit.cli.eval.options import exam_of
from pinxit.cli.paint_options import warn_about_prompts
from pinxit.cli.painter_settings import resolve_settings
from pinxit.errors import UsageError

if TYPE_CHECKING:
    from pinxit.evaluation.measures import MeasuringModels, ReferencePictures
    from pinxit.evaluation.questions import Exam, Question
    from pinxit.evaluation.sweep import SweepPainter, Watch
    from pinxit.evaluation.variations import Settings
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.diffusion.upsampler import Upsampler
    from pinxit.recipes.judge.judge import Judge
    from pinxit.recipes.painting import Painter
    from pinxit.types import Picture, Ranked

EYE = "tiny"  # the CLIP that measures distances from true pictures, and alignment where the painter has none


@dataclass(frozen=True)
class SweepSetup:
    """Everything that a sweep needs, and in `about` what its results depend on."""

    exam: Exam
    asked: list[Question]
    painter: SweepPainter
    truth: ReferencePictures
    about: dict[str, Any]
    device: str


def set_up(
    checkpoint: str, planned: Sequence[Settings], upscale: bool, judge: str, asking: Mapping[str, Any], device: str
) -> SweepSetup:
    """Open everything and check every combination. Raises PinxitError for anything missing or out of range."""
    from pinxit.api import load
    from pinxit.evaluation.measures import ReferencePictures
    from pinxit.evaluation.questions import questions
    from pinxit.recipes.clip.encoder import ClipEncoder
    from pinxit.recipes.judge.judge import Judge
    from pinxit.weights.zoo import lacks_clip

    painter = load(checkpoint, device=device, ranker=EYE if lacks_clip(checkpoint) else None)
    upsampler = _upsampler(painter, checkpoint) if upscale else None
    for settings in planned:
        resolve_settings(settings, painter, upsampler)
    sampled, opened, eye = _sweep_painter(painter, upsampler), Judge.open(judge, device), ClipEncoder.open(EYE, device)
    exam = exam_of(opened.world, **asking, attributes=opened.attributes)
    asked, size = questions(exam), painter.size if upsampler is None else upsampler.size
    warn_about_prompts(checkpoint, painter, (one.prompt for one in asked))
    about = {
        "painter": {"name": checkpoint} | painter.provenance,
        "judge": {"name": judge, "hash": opened.hash},
        "distance": {"clip": EYE, "fingerprint": eye.fingerprint},
        "upscale": upscale,
        "defaults": sampled.own,
    }
    return SweepSetup(
        exam,
        asked,
        sampled,
        ReferencePictures(asked, size, _instruments(painter, opened, eye)),
        about,
        str(opened.device),
    )


def _upsampler(painter: Painter, checkpoint: str) -> Upsampler:
    from pinxit.recipes.capabilities import upsampler_of

    upsampler = upsampler_of(painter)
    if upsampler is None:
        raise UsageError(f"{checkpoint} has no upsampler: leave out --upscale, or name an Imagen with --checkpoint.")
    return upsampler


def _sweep_painter(painter: Painter, upsampler: Upsampler | None) -> SweepPainter:
    """Paints one picture per prompt: candidate 0 of its seed, so that all settings start from the same noise."""
    from pinxit.evaluation.sweep import SweepPainter

    def paint(asked: Sequence[Question], settings: Settings, watch: Watch) -> list[Ranked]:
        prompts = [(question.prompt, question.seed) for question in asked]
        painted = painter.paint_many(prompts, candidates=1, watch=lambda done: watch(done.share), **settings)
        return [one for (one,) in painted]

    if upsampler is None:
        return SweepPainter(paint, dict(painter.defaults))
    enlarging = upsampler.defaults

    def enlarge(question: Question, one: Ranked, settings: Settings) -> Ranked:
        upsampler.tune(settings)
        (large,) = upsampler.enlarge(question.prompt, [one])
        return replace(large, score=_cosine(painter, question.prompt, large.picture))

    own = painter.defaults | enlarging | {"upsampler_sampler": upsampler.sampling.sampler}
    return SweepPainter(paint, own, enlarge, frozenset(enlarging))


def _instruments(painter: Painter, judge: Judge, eye: ClipEncoder) -> MeasuringModels:
    import torch

    from pinxit.evaluation.measures import MeasuringModels

    return MeasuringModels(
        judge.detect,
        lambda pictures: torch.from_numpy(eye.pictures(pictures)),
        lambda prompt, picture: _cosine(painter, prompt, picture),
    )


def _cosine(painter: Painter, prompt: str, picture: Picture) -> float:
    """The cosine of a picture of any size and its prompt, by the painter's ranker."""
    return painter.ranker.ranked(prompt, 0, [picture])[0].score

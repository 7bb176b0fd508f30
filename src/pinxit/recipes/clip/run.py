"""`pinxit train clip`: pictures, tokenizer, clip, checkpoint, each resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pinxit.config import to_dict
from pinxit.data.streams import has_pictures
from pinxit.models.torch_defaults import torch_defaults_for_training
from pinxit.recipes.clip.presets import ClipRunConfig
from pinxit.recipes.clip.task import GROUP, ClipTask
from pinxit.recipes.estimate import Stage
from pinxit.recipes.published import Published
from pinxit.recipes.staging import RunOutcome, fit_stage, learn_tokenizer, prepare_pictures, run_in_order, say
from pinxit.recipes.warm_start import StartingRun, check_fits
from pinxit.text.clip_tokenizer import MERGES_FILE, ClipTokenizer, clip_tokens
from pinxit.training import state as states
from pinxit.training.log import duration, read_metrics
from pinxit.training.runs import enter
from pinxit.training.stop import Stop
from pinxit.weights.checkpoint import Part, save_checkpoint

RECIPE = "clip"
TENTH = 10  # where there are few pictures, one in so many is held out
STAGES = ("pictures", "tokenizer", "clip", "checkpoint")


class ClipRun(StartingRun[ClipRunConfig]):
    """One run folder and how this process works on it."""

    def enter(self) -> None:
        """Write the config down, or refuse one that differs from what finished or running stages have used."""
        self.check_start()
        used = {"vocab": lambda: self.finished("tokenizer")}
        drawn = ("data.source", "data.size", "data.pictures", "data.neighbours", "data.stream", "seed")
        used |= dict.fromkeys(drawn, lambda: self.path("pictures").exists())
        used |= dict.fromkeys(
            ("clip", "tokens", "fitting", "plan", "augment", "data.held_out"), lambda: self.started("clip")
        )
        enter(self.folder, RECIPE, self.config, used)
        self.note_start()

    def finished(self, stage: str) -> bool:
        """Whether a stage has nothing left to do."""
        if stage == "tokenizer":  # published CLIPs have a merges file only
            return any((self.path(stage) / name).is_file() for name in (self.MARKS[stage], MERGES_FILE))
        if stage == "pictures":
            return has_pictures(self.path(stage))
        return super().finished(stage)

    @property
    def trained(self) -> tuple[str, ...]:
        return ("clip",)


@torch_defaults_for_training()
def train(run: ClipRun, stages: Sequence[str] = STAGES, stop: Stop | None = None) -> RunOutcome:
    """Run `stages` in their order as far as time allows. Raises UsageError for an unknown one or a changed config."""

    def step(name: str, stop: Stop) -> None:
        if name == "pictures":
            prepare_pictures(run, stop, **({"group": GROUP} if run.config.grouped else {}))
        elif name == "tokenizer":
            _tokenizer(run)
        elif name == "clip":
            run.need(name, "pictures", "tokenizer")
            training = replace(run.config.training, held_out=held_out(run))
            tokenizer = clip_tokens(run.path("tokenizer"), run.config.vocab)
            fit_stage(run, name, lambda: ClipTask(training, run.pictures(), tokenizer), stop)
        else:
            run.need(name, "pictures", "tokenizer", "clip")
            _checkpoint(run)

    def skip(name: str) -> bool:
        return name not in ("pictures", "checkpoint") and run.finished(name)  # pictures are compared with the data

    check_fits(run, [Stage("clip", run.config.plan, partial(ClipTask, run.config.training))])
    return run_in_order(run, STAGES, stages, step, skip, stop)


def held_out(run: ClipRun) -> int:
    """How many of the existing pictures are held out: `data.held_out`, or a tenth where that would be most of them."""
    expected, there = run.config.data.held_out, len(run.pictures())
    if 2 * expected <= there:
        return expected
    group = run.config.training.group
    few = there // TENTH // group * group
    say(run, f"{few} of {there} pictures are held out, not {expected} (data.held_out), which would be most of them")
    return few


def _tokenizer(run: ClipRun) -> None:
    if isinstance(run.init, Published):  # if its folder has no tokenizer, it is OpenAI's
        ClipTokenizer.open(run.init.folder, run.config.vocab).save(run.path("tokenizer"))
        return
    if run.init is not None:
        clip_tokens(run.init.folder, run.config.vocab).save(run.path("tokenizer"))
        return
    run.need("tokenizer", "pictures")
    learn_tokenizer(run.pictures(), run.config.vocab, run.path("tokenizer"))


def _checkpoint(run: ClipRun) -> None:
    """Write the averaged weights, the tokenizer and the model card."""
    part = Part(run.config.clip, states.read_weights(run.path("clip"), "clip"))
    files = {path.name: path.read_bytes() for path in sorted(run.path("tokenizer").glob("[!.]*"))}
    settings = {"fitting": to_dict(run.config.fitting)}
    facts = _facts(run)
    save_checkpoint(
        run.path("checkpoint"),
        RECIPE,
        {"clip": part},
        extra_files=files,
        provenance=facts,
        settings=settings,
        card=_card(facts),
    )


def _facts(run: ClipRun) -> dict[str, Any]:
    progress = states.read_progress(run.path("clip"))
    scores = [line["zero_shot"] for line in read_metrics(run.path("clip")) if line.get("zero_shot") is not None]
    return {
        "data": run.config.data.source,
        "pictures": len(run.pictures()),
        "held_out": held_out(run),
        "images": progress.images,
        "hours": round(progress.seconds / 3600, 3),
        "zero_shot": scores[-1] if scores else None,
        "plan": to_dict(run.config.plan),
        "seed": run.config.seed,
    } | ({"started_from": run.start()["checkpoint"]} if run.start() else {})


def _card(facts: dict[str, Any]) -> str:
    score = "not measured" if facts["zero_shot"] is None else f"{facts['zero_shot']:.1%}"
    return f"""# A CLIP for {facts["data"]}

Tells which sentence belongs to which picture, after "Learning Transferable Visual Models From Natural Language
Supervision" (arXiv 2103.00020). Trained by `pinxit train clip` on {facts["pictures"]:,} pictures of {facts["data"]},
{facts["images"]:,} seen in {duration(facts["hours"] * 3600)}, seed {facts["seed"]}; averaged weights in bfloat16.

Zero-shot on {facts["held_out"]:,} pictures it was not trained on, each among all their captions: {score}.

    pinxit classify PICTURES --labels "one,other" --checkpoint FOLDER
"""

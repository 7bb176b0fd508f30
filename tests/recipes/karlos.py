"""A whole tiny Karlo as diffusers saves it, and its pipelines over the same networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.text.tiny_models import save_random, transformers
from tests.weights import karlos
from tests.weights.karlos import EMBED, LENGTH, diffusers

SEED = 3
TOWER: dict[str, Any] = {"hidden_size": EMBED, "intermediate_size": 4 * EMBED, "num_hidden_layers": 2}
TOWER |= {"num_attention_heads": 2, "projection_dim": EMBED}
WORDS = {"vocab_size": 516, "max_position_embeddings": LENGTH, "bos_token_id": 514, "eos_token_id": 515}
MERGES = ("c a", "ca t</w>")
SAMPLES = {"variance_type": "fixed_small_log", "prediction_type": "sample", "clip_sample_range": 5.0}


@dataclass(frozen=True)
class Karlo:
    """The folder, and what diffusers makes of the same networks."""

    folder: Path
    paint: Any
    vary: Any


def save(folder: Path) -> Karlo:
    """A folder that both paints and varies."""
    nets = karlos.save(folder)
    calm(nets)
    for name, net in nets.items():
        net.save_pretrained(folder / name)
    text = save_random(
        folder / "text_encoder", transformers.CLIPTextModelWithProjection, transformers.CLIPTextConfig(**WORDS | TOWER)
    )
    vision = transformers.CLIPVisionConfig(**TOWER, image_size=16, patch_size=8)
    sight = save_random(folder / "image_encoder", transformers.CLIPVisionModelWithProjection, vision)
    sizes = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    look = transformers.CLIPImageProcessor(**sizes)
    look.save_pretrained(folder / "feature_extractor")
    schedulers = {
        "prior_scheduler": diffusers.UnCLIPScheduler(**SAMPLES),
        "decoder_scheduler": diffusers.UnCLIPScheduler(variance_type="learned_range"),
        "super_res_scheduler": diffusers.UnCLIPScheduler(),
    }
    for name, scheduler in schedulers.items():
        scheduler.save_pretrained(folder / name)
        exact(scheduler)
    tokenizer = tokens(folder / "tokenizer")
    drawing = {name: net for name, net in nets.items() if name != "prior"} | {"text_encoder": text}
    drawing |= {name: scheduler for name, scheduler in schedulers.items() if name != "prior_scheduler"}
    paint = diffusers.UnCLIPPipeline(
        prior=nets["prior"], prior_scheduler=schedulers["prior_scheduler"], tokenizer=tokenizer, **drawing
    )
    vary = diffusers.UnCLIPImageVariationPipeline(
        image_encoder=sight, feature_extractor=look, tokenizer=tokenizer, **drawing
    )
    for pipeline in (paint, vary):
        pipeline.set_progress_bar_config(disable=True)
    return Karlo(folder, paint, vary)


def calm(nets: dict[str, Any]) -> None:
    """Answers of about a picture's size: wilder ones make rounding grow from step to step, within diffusers itself."""
    for name in ("decoder", "super_res_first", "super_res_last"):
        nets[name].conv_out.weight.mul_(0.5)


def exact(scheduler: Any) -> None:
    """Its table in float64: in float32 1 - abar loses three digits where it is clean, and makes a last x0 too small."""
    scheduler.betas = scheduler.betas.double()
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)


def tokens(folder: Path) -> Any:
    """A tokenizer of two merges, saved as Karlo's is: padded with the first sign of the vocabulary."""
    from pinxit.text.clip_tokenizer import _alphabet

    signs = _alphabet()
    words = [*signs, *(sign + "</w>" for sign in signs), *(merge.replace(" ", "") for merge in MERGES)]
    vocabulary = {word: place for place, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    merges = [tuple(merge.split()) for merge in MERGES]
    found = transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="!", model_max_length=LENGTH)
    found.save_pretrained(folder)
    return found


def drawn(*shapes: tuple[int, ...]) -> Iterator[Tensor]:
    """What diffusers draws from a generator seeded with SEED: `shapes` one after the other, the last one for ever."""
    generator = torch.Generator().manual_seed(SEED)
    for shape in shapes:
        yield torch.randn(shape, generator=generator)
    while True:
        yield torch.randn(shapes[-1], generator=generator)


class Steps:
    """What a scheduler of a pipeline gives after every step; `last` changes what the last one gives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scheduler: Any, last: Any = lambda sample: sample) -> None:
        self.seen: list[Tensor] = []
        step = scheduler.step

        def watched(*args: Any, **how: Any) -> Any:
            found = step(*args, **how)
            if len(self.seen) + 1 == len(scheduler.timesteps):
                found.prev_sample = last(found.prev_sample)
            self.seen.append(found.prev_sample[0].clone())
            return found

        monkeypatch.setattr(scheduler, "step", watched)

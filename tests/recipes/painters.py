"""A painter with random weights for tests: real models, nothing worth seeing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pinxit.config import override
from pinxit.models.clip import CLIP
from pinxit.models.dvae import DVAE
from pinxit.models.transformer import TokenTransformer
from pinxit.recipes.dalle.painter import DallePainter
from pinxit.recipes.dalle.presets import preset
from pinxit.text.tokenizers import Tokenizer
from pinxit.training.draws import seeded
from pinxit.weights.checkpoint import Part, save_checkpoint

CAPTIONS = ["a red square", "two blue stars", "a cat and a dog", "三个绿色的三角形"] * 8


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train(CAPTIONS, 512)


def random_painter(rows: int = 8, clip_tokens: int = 16, int8: bool = False, seed: int = 0) -> DallePainter:
    config = override(preset("nano"), [f"clip.text.tokens={clip_tokens}"])
    return DallePainter(
        DVAE(config.dvae),
        TokenTransformer(config.transformer, seed=1),
        seeded(lambda: CLIP(config.clip), seed, "clip"),
        tokenizer(),
        name="nano",
        device="cpu",
        rows=rows,
        int8=int8,
    )


def save_random_checkpoint(
    folder: Path, settings: Mapping[str, Any] = MappingProxyType({"guidance": 1.5}), seed: int = 0
) -> None:
    """`seed`: of its CLIP."""
    config, painter = preset("nano"), random_painter(seed=seed)
    tokenizer().save(folder)
    extra = {name: (folder / name).read_bytes() for name in ("tokenizer.json", "words.json")}
    parts = {
        "dvae": Part(config.dvae, painter.dvae.state_dict()),
        "transformer": Part(config.transformer, painter.transformer.state_dict()),
        "clip": Part(config.clip, painter.clip.state_dict()),
    }
    save_checkpoint(folder, "dalle", parts, extra_files=extra, settings=dict(settings))

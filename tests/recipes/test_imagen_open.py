"""An Imagen's checkpoint opened, to paint and to enlarge: with random weights, for what does not hang on training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pinxit.api import load, load_upsampler
from pinxit.errors import UsageError
from pinxit.recipes.diffusion import open as opening
from pinxit.recipes.imagen.painter import ImagenPainter
from pinxit.recipes.imagen.presets import changed, preset, read_by
from pinxit.text.encoders import open_text_encoder
from pinxit.text.frozen import FrozenEncoder, Precision
from pinxit.types import EncodedText, Ranked
from pinxit.weights.checkpoint import open_checkpoint

pytest.importorskip("transformers")
from tests.recipes.imagens import save_random_imagen
from tests.text.tiny_models import save_tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_imagen(tmp_path_factory.mktemp("imagen") / "nano")


@pytest.fixture(scope="module")
def painter(checkpoint: Path) -> ImagenPainter:
    found = load(checkpoint, device="cpu")
    assert isinstance(found, ImagenPainter)
    return found


def test_the_upsampler_enlarges_anybodys_square_picture(painter: ImagenPainter, checkpoint: Path) -> None:
    kept = painter.paint("a red square on the left", candidates=3, keep=2)
    upsampler = load_upsampler(checkpoint, device="cpu")
    large, again = (
        upsampler.enlarge("a red square on the left", kept),
        upsampler.enlarge("a red square on the left", kept[1:]),
    )
    assert [one.picture.shape for one in large] == [(32, 32, 3)] * 2
    assert [(one.seed, one.candidate, one.score) for one in large] == [(k.seed, k.candidate, k.score) for k in kept]
    assert np.array_equal(large[1].picture, again[0].picture)
    other = upsampler.enlarge("any", [Ranked(np.zeros((24, 24, 3), np.uint8), 0, 0, 0.0)])
    assert other[0].picture.shape == (32, 32, 3)


@pytest.mark.parametrize(("height", "width"), [(24, 20), (15, 15), (32, 32), (48, 48)])
def test_what_cannot_be_enlarged_is_refused(painter: ImagenPainter, height: int, width: int) -> None:
    wrong = Ranked(np.zeros((height, width, 3), np.uint8), 0, 0, 0.0)
    assert painter.upsampler is not None
    with pytest.raises(UsageError, match=f"of at least 16 px and less than 32, not {width} x {height}"):
        painter.upsampler.enlarge("any", [wrong])


def test_what_each_stage_weighs_in_a_pictures_progress(painter: ImagenPainter) -> None:
    weights = {name: stage.weight for name, stage in painter.graph.stages.items()}
    assert weights == {"text": 0.0, "denoise": 1.0, "embed": 0.05, "rank": 0.0}


def test_what_was_enlarged_tells_by_whom(painter: ImagenPainter, checkpoint: Path) -> None:
    hashed = open_checkpoint(checkpoint).hash
    for upsampler in (painter.upsampler, load_upsampler(checkpoint, device="cpu")):
        assert upsampler is not None
        assert upsampler.facts["upsampler_hash"] == hashed and upsampler.facts["upscale"] == upsampler.size


def test_a_prompt_is_read_once_however_many_pictures_are_enlarged(
    painter: ImagenPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert painter.upsampler is not None
    read, encode = list[str](), painter.upsampler.reader.encode

    def watched(texts: Sequence[str], batch: int = 1) -> EncodedText:
        read.extend(texts)
        return encode(texts, batch)

    monkeypatch.setattr(painter.upsampler.reader, "encode", watched)
    assert (
        len(painter.upsampler.enlarge("any", [Ranked(np.zeros((16, 16, 3), np.uint8), 0, k, 0.0) for k in range(3)]))
        == 3
    )
    assert read == ["any"]


def test_enlarging_is_watched(painter: ImagenPainter) -> None:
    """Six pictures in two waves; what is under way is shown in its own size."""
    assert painter.upsampler is not None
    found: list[tuple[float, list[tuple[int, ...]]]] = []
    asked = [Ranked(np.zeros((16, 16, 3), np.uint8), 0, k, 0.0) for k in range(6)]
    painter.upsampler.enlarge(
        "any", asked, lambda done: found.append((done.share, [one.shape for one in done.preview()])), previews=0.0
    )
    shares = [share for share, _ in found]
    assert shares == sorted(shares) and shares[-1] == 1 and 0 < min(share for share in shares if share) < 0.5
    assert {shape for _, shapes in found for shape in shapes} == {(32, 32, 3)}


def test_a_painter_reads_where_it_draws(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 on a GPU alone."""
    asked: list[tuple[torch.device, str]] = []

    def spied(spec: str, device: torch.device, length: int, precision: Precision, **more: Any) -> FrozenEncoder:
        asked.append((device, precision))
        return open_text_encoder(spec, "cpu", length, "fp32", **more)

    monkeypatch.setattr("pinxit.recipes.diffusion.reading.open_text_encoder", spied)
    for device in (torch.device("cpu"), torch.device("cuda", 1)):
        opening.reader_of(open_checkpoint(checkpoint), device)
    assert asked == [(torch.device("cpu"), "fp32"), (torch.device("cuda", 1), "bf16")]


def test_an_upsampler_takes_the_painters_reader_where_it_is_its_own(painter: ImagenPainter, checkpoint: Path) -> None:
    assert load_upsampler(checkpoint, device="cpu", reader=painter.reader).reader is painter.reader
    assert load_upsampler(checkpoint, device="cpu").reader is not painter.reader


def test_a_relative_folder_of_a_reader_is_named_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was kept as typed, so that painting from another folder failed. What a run began with stays as it is."""
    save_tiny(tmp_path / "reader", "bert")
    monkeypatch.chdir(tmp_path)
    place = str(tmp_path / "reader")
    assert read_by(preset("nano"), "reader").text.encoder == place
    found = changed(preset("nano"), ["text.encoder=reader"])
    assert found.text.encoder == place and read_by(found, "reader") is found
    old = replace(found, text=replace(found.text, encoder="reader"))
    assert read_by(old, "reader") is old and read_by(old, place) is old
    assert changed(old, ["seed=3"]).text.encoder == "reader"
    assert changed(old, ["text.encoder=minilm"]).text.encoder == "minilm"

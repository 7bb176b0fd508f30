"""What a CLIP of another size is shown of candidates."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pinxit.api import load
from pinxit.models.clip import CLIP, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.clip.ranker import AnyRanker
from pinxit.recipes.ranking import Ranker, embeddings_of
from tests.recipes.painters import random_painter, save_random_checkpoint


def test_logits_are_scaled_by_the_clip_that_ranks_if_there_is_any() -> None:
    painter = random_painter()
    encoder = ClipEncoder(painter.clip, lambda texts, cut: np.ones((len(texts), 16), np.int64), "tiny", "cpu")
    assert AnyRanker(encoder).scale == Ranker(painter.clip, painter.tokenizer, torch.device("cpu")).scale > 1
    assert AnyRanker(None).scale == 1.0


@pytest.mark.parametrize("side", [16, 32, 48])
def test_pictures_come_in_its_own_size_and_within_their_range(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Black beside white: bicubic resampling overshoots both."""
    painter, shown = random_painter(), list[torch.Tensor]()
    encode = painter.clip.encode_image

    def encoded(x: torch.Tensor) -> torch.Tensor:
        shown.append(x)
        return encode(x)

    monkeypatch.setattr(painter.clip, "encode_image", encoded)
    picture = np.zeros((side, side, 3), np.uint8)
    picture[:, : side // 2] = 255
    ranker = Ranker(painter.clip, painter.tokenizer, torch.device("cpu"))
    (found,) = ranker.embed([picture])
    assert found is not None and all(x.shape[1:] == (3, 32, 32) for x in shown) and shown
    x = shown[0][0]
    assert x.min() == 0 and x.max() == 1 and torch.equal(x[0], x[2])
    torch.testing.assert_close(x.mean(), torch.tensor(0.5), atol=0.01, rtol=0)
    assert x[:, :, :12].min() > 0.9 and x[:, :, 20:].max() < 0.1


def test_pictures_that_are_drawn_on_another_device_come_to_that_of_the_clip() -> None:
    """As the decoder's, or those of `denoise`, which can be placed apart from the CLIP that guides them."""
    clip = CLIP(CLIPConfig(8, CLIPVisionConfig(32, 8, 16, 1, 1), CLIPTextConfig(9, 4, 8, 1, 1, 8))).to("meta")
    assert embeddings_of(clip, torch.zeros(1, 3, 16, 16)).device.type == "meta"


def counted(work: Callable[[Tensor], Tensor], rows: set[int]) -> Any:
    """The same function, which also notes how many rows it is given."""

    @wraps(work)
    def noting(x: Tensor) -> Tensor:
        rows.add(len(x))
        return work(x)

    return noting


def test_no_call_is_larger_because_another_clip_ranks(tmp_path: Path) -> None:
    """Calls have a fixed number of pictures: with a batch of many, each candidate would cost as much as all of them."""
    save_random_checkpoint(tmp_path / "nano")
    own: Any = load(tmp_path / "nano", device="cpu")
    other: Any = load(tmp_path / "nano", device="cpu", ranker=tmp_path / "nano")
    decoded, embedded = set[int](), set[int]()
    other.dvae.decode_codes = counted(other.dvae.decode_codes, decoded)
    model = other.ranker.encoder.model
    model.encode_image = counted(model.encode_image, embedded)
    other.paint("a red square", candidates=3)
    assert decoded == embedded == {own.ranker.batch}


def test_the_ranker_does_not_decide_how_codes_become_pictures() -> None:
    """Their last bits may depend on how many are decoded together."""
    painter, decoded = random_painter(), set[int]()
    usual, dvae = painter.ranker.batch, painter.dvae
    painter.ranker.batch = 5  # as on another device
    dvae.decode_codes = counted(dvae.decode_codes, decoded)  # type: ignore[method-assign]
    painter.paint("a red square", candidates=3)
    assert decoded == {usual}

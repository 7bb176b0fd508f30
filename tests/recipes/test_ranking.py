"""What a CLIP of another size is shown of candidates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pinxit.recipes.ranking import Ranker
from tests.recipes.painters import random_painter


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

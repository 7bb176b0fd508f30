"""What open_clip and the DALL-E package answer, stored: neither is installed with the tests.

`python -m tests.weights.answers` writes `open_clip.json` and `dall_e.json` anew, where both packages are installed
(`pip install --no-deps open_clip_torch==3.3.0 timm ftfy wcwidth dall-e attrs`). Each file holds the names and shapes of
the package's weights and what it made of the inputs below. Weights are drawn from their names by NumPy's RandomState,
whose numbers never change, so that they need not be stored.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
TEXT: dict[str, Any] = {"context_length": 12, "vocab_size": 60}
TOWERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vit": (
        {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 64},
        TEXT | {"width": 128, "heads": 2, "layers": 3},
    ),
    "resnet": (
        {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16, "head_width": 64},
        TEXT | {"width": 64, "heads": 1, "layers": 1},
    ),
}
EMBED = 24
HID, INIT, CODES = 64, 16, 512  # the least that the DALL-E package builds


def drawn(name: str, shape: Sequence[int], spread: float = 1.0) -> Tensor:
    numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))
    return torch.from_numpy(np.asarray(spread * numbers)).float()


def weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """A tensor for every name: norms near one, variances above zero, all else of the spread that layers begin with."""
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def _weight(name: str, shape: Sequence[int]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if name.endswith("running_var"):
        return 0.5 + drawn(name, shape).abs()
    if len(shape) < 2:
        return drawn(name, shape, 0.1) + (1.0 if name.endswith("weight") else 0.0)
    gain = 1.5 if name.endswith(".w") else 1.0  # the DALL-E package's: its codes would be the same everywhere
    return drawn(name, shape, gain * float(np.prod(shape[1:])) ** -0.5)


def pictures(count: int, size: int) -> Tensor:
    """Float [count, 3, size, size] in (0, 1): large patches, each a little uneven."""
    patches = drawn("patches", (count, 3, 4, 4), 3.0).repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3)
    return torch.sigmoid(patches + drawn("pictures", (count, 3, size, size)))


def token_ids() -> Tensor:
    """Three sentences of 12 ids, begun by 58 and ended by 59 at different places."""
    ids = np.random.RandomState(1).randint(1, 58, (3, 12))
    ids[:, 0], ids[0, 5], ids[1, 11], ids[2, 3] = 58, 59, 59, 59
    ids[0, 6:], ids[2, 4:] = 0, 0
    return torch.from_numpy(ids).long()


def stored(package: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((FOLDER / f"{package}.json").read_text())
    return told

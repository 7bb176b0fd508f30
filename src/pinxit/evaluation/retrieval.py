"""Retrieval of pictures by captions and of captions by pictures (Radford et al. 2021, table 13).

Shapes: N pictures, M different captions, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pinxit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KS = (1, 5, 10)


def recalls(image_NE: NDArray[np.float32], text_ME: NDArray[np.float32], caption_N: Sequence[int]) -> dict[str, float]:
    """Recall at 1, 5 and 10 in both directions: "caption@5" (for a picture), "picture@5" (for a caption).

    `caption_N`: the index of each picture's caption; every caption has a picture. Where pictures share a caption, any
    of them is right. Ties count as errors, and so does what is no number. Raises UsageError without pictures, for
    embeddings of two widths, and for other numbers than those.
    """
    image_NE, text_ME, numbers_N = np.asarray(image_NE), np.asarray(text_ME), np.asarray(caption_N)
    if image_NE.shape[1:] != text_ME.shape[1:]:
        shapes = f"{list(image_NE.shape)} and {list(text_ME.shape)}"
        raise UsageError(f"recall compares embeddings [N, E] and [M, E] of one CLIP, not {shapes}.")
    whole = numbers_N.dtype.kind in "iu" and set(numbers_N.tolist()) == set(range(len(text_ME)))
    if not len(image_NE) or len(numbers_N) != len(image_NE) or not whole:
        raise UsageError(
            f"recall needs for each of {len(image_NE)} pictures the number of its caption, and a picture for each of "
            f"{len(text_ME)} captions."
        )
    own = numbers_N[:, None] == np.arange(len(text_ME))[None, :]
    scores_NM = image_NE @ text_ME.T
    result: dict[str, float] = {}
    for name, scores, right in (("caption", scores_NM, own), ("picture", scores_NM.T, own.T)):
        best = np.where(right, scores, -np.inf).max(1, keepdims=True)
        above = (~(scores < best) & ~right).sum(1)  # wrong answers not ranked after the first right one; NaN is not
        result |= {f"{name}@{k}": float((above < k).mean()) for k in KS}
    return result

"""The distance between two sets of vectors: the maximum mean discrepancy (Gretton et al. 2012).

Shapes: N rows of each set, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pinxit.errors import UsageError

SIGMA, SCALE = 10.0, 1000.0  # CMMD's kernel width, and the factor of the figure it reports


def cmmd(drawn_NE: Tensor, true_NE: Tensor) -> float:
    """CMMD (arXiv 2401.09603): squared discrepancy of unit CLIP embeddings under a Gaussian kernel, times 1000.

    Rows are pairs: row i of both is a picture of the same thing. The estimator is the unbiased one for pairs (Gretton
    et al. 2012, lemma 6, eq. 4), which compares no row with itself or with its partner: 0 for equal sets, and around 0,
    also below it, for two samples of one distribution. CMMD's released code uses the biased one (eq. 5), which grows as
    rows get fewer, so that exams of different lengths could not be compared. Raises UsageError for unequal numbers of
    rows or widths, and for fewer than two rows.
    """
    rows = len(drawn_NE)
    if rows != len(true_NE) or rows < 2:
        raise UsageError(f"the distance needs two pictures or more of each kind, not {rows} and {len(true_NE)}.")
    if drawn_NE.ndim != 2 or drawn_NE.shape != true_NE.shape:
        shapes = f"{list(drawn_NE.shape)} and {list(true_NE.shape)}"
        raise UsageError(f"the distance compares embeddings [N, E] of one CLIP, not {shapes}.")
    x, y = drawn_NE.double(), true_NE.double()
    across = _unlike(x, y)
    apart = across + across.T - _unlike(x, x) - _unlike(y, y)
    others = ~torch.eye(rows, dtype=torch.bool, device=apart.device)
    return SCALE * float(apart[others].mean())


def _unlike(x_NE: Tensor, y_ME: Tensor) -> Tensor:
    """1 - k(x, y) [N, M]: k of so wide a kernel is almost 1, so the small difference is computed directly."""
    apart = torch.cdist(x_NE, y_ME, compute_mode="donot_use_mm_for_euclid_dist")
    return -torch.expm1(-apart.square() / (2 * SIGMA**2))

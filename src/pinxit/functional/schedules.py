"""Values that change during training, as pure functions of progress (updates or images seen: the caller's unit)."""

from __future__ import annotations

import math


def cosine(step: float, start: float, end: float, over: float) -> float:
    """From `start` at step 0 to `end` at step `over` along half a cosine wave; constant outside.

    DALL-E (arXiv 2102.12092), appendix A.2, anneals KL weight and temperature this way.
    """
    done = 1.0 if over <= 0 else min(max(step / over, 0.0), 1.0)
    return start + (end - start) * 0.5 * (1 - math.cos(math.pi * done))

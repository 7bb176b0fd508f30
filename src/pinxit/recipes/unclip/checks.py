"""What a run of `pinxit train unclip` refuses besides what its config does."""

from __future__ import annotations

import filecmp
from typing import TYPE_CHECKING

from pinxit.data.bank_layout import CAPTIONS
from pinxit.errors import DataError, UsageError

if TYPE_CHECKING:
    from pinxit.recipes.unclip.run import UnclipRun


def check_plans(run: UnclipRun) -> None:
    """Raise UsageError for a checkpoint of networks that nobody ever trained."""
    begun = run.init is not None or bool(run.start())
    if not run.config.decoder.plan.images and not begun:
        problem = "decoder.plan.images=0 keeps what a checkpoint brought"
        raise UsageError(f"{problem}: name one by --init-from.")
    resting = [one.name for one in run.config.upsamplers if one not in run.upsamplers]
    if resting and not begun:
        problem = f"upsamplers.{resting[0]}.plan.images=0 keeps what a checkpoint brought"
        raise UsageError(f"{problem}: name one by --init-from.")
    if not run.priors:
        raise UsageError("no prior has pictures to learn from: set one's plan.images.")


def check_banks(run: UnclipRun) -> None:
    """Raise DataError where the pictures that CLIP is shown are not the decoder's at another size."""
    one, other = (run.path(name) / CAPTIONS for name in ("pictures", run.looked_at))
    if not filecmp.cmp(one, other, shallow=False):
        raise DataError(
            f"{one} and {other} differ: some pictures are too small for one of both sizes; "
            f"take data whose pictures have at least {max(run.clip.size, run.config.decoder.size)} px."
        )

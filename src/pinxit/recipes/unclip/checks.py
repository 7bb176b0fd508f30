"""What a run of `pinxit train unclip` refuses besides what its config does."""

from __future__ import annotations

import filecmp
from collections.abc import Collection
from pathlib import Path

from pinxit.data.bank_layout import CAPTIONS
from pinxit.errors import DataError, UsageError
from pinxit.recipes.clip.encoder import ClipEncoder
from pinxit.recipes.diffusion.config import Stage
from pinxit.recipes.published import Start
from pinxit.recipes.unclip.config import PriorStage, UnclipConfig


def check_plans(
    config: UnclipConfig, priors: Collection[PriorStage], upsamplers: Collection[Stage], begun: bool
) -> None:
    """Raise UsageError for a checkpoint with networks that were never trained.

    `priors`, `upsamplers`: those of this run; `begun`: it started from a checkpoint.
    """
    if not config.decoder.plan.images and not begun:
        problem = "decoder.plan.images=0 keeps what a checkpoint brought"
        raise UsageError(f"{problem}: name one by --init-from.")
    resting = [one.name for one in config.upsamplers if one not in upsamplers]
    if resting and not begun:
        problem = f"upsamplers.{resting[0]}.plan.images=0 keeps what a checkpoint brought"
        raise UsageError(f"{problem}: name one by --init-from.")
    if not priors:
        raise UsageError("no prior has pictures to learn from: set one's plan.images.")


def check_same_clip(init: Start, clip: ClipEncoder) -> None:
    """Raise UsageError if the unCLIP `init`, whose space is taken over, was trained on another CLIP's embeddings."""
    old = init.settings["sight"]
    if clip.fingerprint != old:
        trained = f"{init.folder} was trained on embeddings of the CLIP '{init.settings['clip']}' ({old})"
        fix = "give the old CLIP, or start from an Imagen or from nothing"
        raise UsageError(f"{trained}, not of '{clip.name}' ({clip.fingerprint}): {fix}.")


def check_banks(own: Path, seen: Path, side: int) -> None:
    """Raise DataError if the pictures for CLIP (`seen`) are not the decoder's (`own`) at another size.

    `side`: the larger of the two sizes.
    """
    one, other = own / CAPTIONS, seen / CAPTIONS
    if not filecmp.cmp(one, other, shallow=False):
        raise DataError(
            f"{one} and {other} differ: some pictures are too small for one of the two sizes; "
            f"take data whose pictures have at least {side} px."
        )

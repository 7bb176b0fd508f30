"""The decoder of an unCLIP as an Imagen's base: what it has learned to draw, without inputs for embeddings and holes.

The way back of `recipes.unclip.presets.with_models`, by which an Imagen's base becomes a decoder.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pinxit.models.unet_config import UNetConfig
from pinxit.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

UNCLIP, DECODER, BASE = "unclip", "decoder", "base"
LEFT_OUT = {
    one.name: one.default
    for one in fields(UNetConfig)
    if one.name in ("image", "image_tokens", "image_hidden", "masked")
}
"""The fields of the U-Net that a base does not have, and their defaults."""
LEFT_OUT_WEIGHTS = ("conditioning.image.", "masked.")


@dataclass(frozen=True)
class DecoderStart(Checkpoint):
    """An unCLIP's checkpoint as training an Imagen sees it: `base` is its decoder; its upsamplers keep their names."""

    whole: Checkpoint | None = None  # the unCLIP

    @property
    def hash(self) -> str:
        """That of the unCLIP."""
        assert self.whole is not None
        return self.whole.hash

    def state(self, part: str) -> dict[str, Tensor]:
        state = super().state(part)
        if part != BASE:
            return state
        return {name: value for name, value in state.items() if not name.startswith(LEFT_OUT_WEIGHTS)}


def decoder_start(unclip: Checkpoint) -> DecoderStart:
    """`unclip` to start an Imagen from: its text encoder, its decoder as the base, its upsamplers."""
    names = list(unclip.parts)
    decoder: dict[str, Any] = dict(unclip.parts[DECODER])
    config: dict[str, Any] = dict(decoder["config"])
    decoder["config"] = config | {"unet": dict(config["unet"]) | LEFT_OUT}
    parts: dict[str, Mapping[str, Any]] = {BASE: decoder}
    parts |= {name: unclip.parts[name] for name in names[names.index(DECODER) + 1 :]}
    # How often the decoder was trained without the caption says nothing about a base, which has no embedding to go by.
    text = {name: value for name, value in unclip.settings["text"].items() if name != "drop"}
    known = dict(unclip.provenance)
    stages = dict(known.get("stages", {}))
    stages = {BASE if name == DECODER else name: about for name, about in stages.items()}
    return DecoderStart(
        unclip.folder,
        "imagen",
        parts,
        unclip.files,
        dict(unclip.settings) | {"text": text},
        known | {"stages": stages},
        whole=unclip,
    )

"""Pools the states of a text's tokens into one vector, as a sentence encoder's own files specify.

Shapes: B texts, L positions, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pinxit.errors import CheckpointError
from pinxit.weights.json_files import json_object, json_objects

_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
}


@dataclass(frozen=True)
class Pooling:
    """The pooling of states into a vector: sentence-transformers' `1_Pooling` and `Normalize`."""

    mode: str = "mean"
    unit: bool = False  # scale the vector to length one

    @classmethod
    def of_folder(cls, folder: Path) -> Pooling:
        """As `modules.json` and `1_Pooling/config.json` of a sentence encoder specify; the mean if there are none.

        Raises CheckpointError for modules or poolings that are not supported.
        """
        modules = json_objects(folder / "modules.json") if (folder / "modules.json").is_file() else []
        kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
        extra = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
        if extra:
            raise CheckpointError(f"{folder / 'modules.json'} asks for {extra[0]}, which pinxit does not do.")
        path = next(
            (
                folder / m.get("path", "") / "config.json"
                for m, kind in zip(modules, kinds, strict=True)
                if kind == "Pooling"
            ),
            folder / "1_Pooling" / "config.json",
        )
        if not path.is_file():
            return cls(unit="Normalize" in kinds)
        settings = json_object(path)
        chosen: list[Any] = [mode for key, mode in _MODES.items() if settings.get(key)] or [
            settings.get("pooling_mode")
        ]
        other = [
            key for key, value in settings.items() if key.startswith("pooling_mode_") and value and key not in _MODES
        ]
        if other or len(chosen) != 1 or chosen[0] not in _MODES.values():
            raise CheckpointError(f"{path} asks for a pooling that pinxit does not do; it knows {', '.join(_MODES)}.")
        return cls(str(chosen[0]), "Normalize" in kinds)

    def __call__(self, states_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """float32 [B, D]; every row has at least one real token (mask bool, True there)."""
        x_BLD, real = states_BLD.float(), mask_BL[..., None]
        if self.mode == "cls":
            pooled = x_BLD[:, 0]
        elif self.mode == "max":
            pooled = x_BLD.masked_fill(~real, -float("inf")).amax(1)
        else:
            count = real.sum(1).to(x_BLD.dtype)
            pooled = x_BLD.masked_fill(~real, 0.0).sum(1) / (count if self.mode == "mean" else count.sqrt())
        return F.normalize(pooled, dim=-1) if self.unit else pooled

"""Where and how single stages compute, where that is not as for the whole: device, precision, compilation. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from pinxit.errors import UsageError


@dataclass(frozen=True)
class Placing:
    """Of one stage. What a stage computes on another device or in another precision differs in its last bits."""

    device: str = ""  # auto, cpu, cuda or cuda:N; "": the painter's
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    compile: bool = False  # torch.compile over CUDA graphs, a tile's; on a CPU networks are packed instead


Placings = Mapping[str, Placing]
USUAL = Placing()


def check_placings(placings: Placings, known: Mapping[str, Collection[str]], who: str) -> None:
    """Raise UsageError for a stage that there is not, or a field of one that cannot be set there.

    `known`: of each stage that can be placed, which fields can, and "int8" or "bf16" for what `precision` may be.
    """
    if placings and not known:
        raise UsageError(f"stages: those of {who} cannot be set one by one.")
    for stage, asked in placings.items():
        can = known.get(stage)
        if can is None:
            raise UsageError(f"stages: {who} has no stage '{stage}' to be set: choose from {', '.join(known)}.")
        wrong = [
            *(["device"] if asked.device and "device" not in can else []),
            *(["compile"] if asked.compile and "compile" not in can else []),
            *([f"precision {asked.precision}"] if asked.precision not in ("auto", *can) else []),
        ]
        if wrong:
            raise UsageError(f"stages: {stage} of {who} takes no {wrong[0]}; what can be set there: {', '.join(can)}.")

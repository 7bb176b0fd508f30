"""Device, precision and compilation of single stages, where they differ from the painter's. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from pinxit.errors import UsageError


@dataclass(frozen=True)
class Placing:
    """How one stage computes. Results on another device or in another precision differ in their last bits."""

    device: str = ""  # auto, cpu, cuda or cuda:N; "": the painter's
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    compile: bool = False  # torch.compile with CUDA graphs; on a CPU networks are packed instead


Placings = Mapping[str, Placing]
USUAL = Placing()


def check_placings(placings: Placings, known: Mapping[str, Collection[str]], who: str) -> None:
    """Raise UsageError for an unknown stage, or for a field that cannot be set for its stage.

    `known`: for each stage what can be set: names of fields, and "int8" or "bf16" for values that `precision` may have.
    `who`: the checkpoint, for the message.
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

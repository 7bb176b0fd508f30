"""The config of `pinxit train imagen`, checked for parts that do not fit each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from pinxit.errors import UsageError
from pinxit.recipes.diffusion.config import (
    STRANGE,
    DataConfig,
    SamplingConfig,
    Stage,
    TextEncoderConfig,
    forget_refused,
)
from pinxit.schema import Seed
from pinxit.weights.checkpoint import Store

ONCE = {"base": "pictures", "upsampler": "large", "second_upsampler": "largest"}
"""The networks that older configs had as fields, each with its folder of pictures, whose name run folders still use."""
TAKEN = ("pictures", "tokenizer", "texts", "checkpoint", "text", *ONCE.values())
"""Names that networks cannot have: folders of a run and parts of a checkpoint."""
GIVEN = ("sequence", "mask", "low_res", "augmentation")
"""The conditions that its networks can have."""


@dataclass(frozen=True, slots=True)
class ImagenConfig:
    """Everything that a run of `pinxit train imagen` depends on."""

    data: DataConfig
    text: TextEncoderConfig
    stages: tuple[Stage, ...]  # in the order in which a picture passes them: a base, then upsamplers
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    ranker: str = "tiny"  # whose CLIP ranks the candidates
    store: Store = "bf16"  # of the checkpoint's weights: bf16, or int8 in half the space
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not self.stages:
            raise UsageError("stages must hold at least a base.")
        for name in self.cascade:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in TAKEN or self.cascade.count(name) > 1:
                raise UsageError(f"stages: '{name}' cannot name a network; take small letters, and each name once.")
        base = self.stages[0]
        if base.low:
            raise UsageError(f"{base.name}.low={base.low} must be 0: the base draws from nothing.")
        if not base.unet.text:
            raise UsageError(f"{base.name}.unet.text must be the width of the text that the base draws for, not 0.")
        for stage in self.stages:
            if foreign := [name for name in stage.unet.conditions() if name not in GIVEN]:
                raise UsageError(f"{stage.name}.unet.{foreign[0]} must be 0: Imagen's networks are given none.")
        for small, large in pairwise(self.stages):
            if large.low != small.size:
                raise UsageError(f"{large.name}.low={large.low} must equal {small.name}.size={small.size}: set both.")
            large.check_augmentation(self.sampling.augmentation)
        self.sampling.check_schedules(base, self.stages[1:])
        if self.text.learned is not None and self.text.learned.tokens < self.text.length:
            raise UsageError(f"text.learned.tokens must be at least text.length={self.text.length}.")

    @property
    def cascade(self) -> tuple[str, ...]:
        """The names of its networks, from the base to the last upsampler."""
        return tuple(stage.name for stage in self.stages)

    def stage(self, name: str) -> Stage:
        """The network called `name`, one of `cascade`."""
        return next(stage for stage in self.stages if stage.name == name)

    def changed(self, name: str, /, **changes: Any) -> ImagenConfig:
        """A copy in which fields of the network called `name` are changed."""
        stages = (replace(stage, **changes) if stage.name == name else stage for stage in self.stages)
        return replace(self, stages=tuple(stages))

    @staticmethod
    def migrated(data: Mapping[str, Any]) -> dict[str, Any]:
        """JSON of an older version, in which networks, plans and picture counts were fields by name, with `stages`."""
        result = dict(data)
        sections = (result.get(name) or {} for name in (*ONCE, "plans", "data"))
        if "stages" in result or "base" not in result or not all(isinstance(one, dict) for one in sections):
            return result
        plans, counts = dict(result.pop("plans", {})), dict(result.get("data", {}))
        result["data"], result["stages"] = counts, []
        for name, bank in ONCE.items():
            network, plan, count = result.pop(name, None), plans.pop(name, None), counts.pop(bank, None)
            if network is not None:
                stored = {} if count is None else {"pictures": count}
                result["stages"].append({"name": name, **network, "plan": plan, **stored})
        return result

    @staticmethod
    def resumed(data: Mapping[str, Any]) -> dict[str, Any]:
        """JSON of a run, which an older version may have begun: see `forget_refused`."""
        result = deepcopy(ImagenConfig.migrated(data))
        with suppress(*STRANGE):  # which is refused when it is converted
            forget_refused(result["sampling"], *result["stages"])
        return result


def migrated_change(change: str) -> str:
    """A dotted override as model cards of that version print it (`base.unet.dropout=0.1`), as it is written now."""
    path, equals, value = change.partition("=")
    first, _, rest = path.partition(".")
    if first == "plans" and rest.partition(".")[0] in ONCE:
        name, _, field_ = rest.partition(".")
        path = f"stages.{name}.plan.{field_}"
    elif first in ONCE and rest:
        path = f"stages.{path}"
    elif first == "data" and rest in ONCE.values():
        name = next(name for name, bank in ONCE.items() if bank == rest)
        path = f"stages.{name}.pictures"
    return f"{path}{equals}{value}"

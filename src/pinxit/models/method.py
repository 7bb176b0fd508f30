"""A method of a network as a module of its own: what converters to other formats take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Method(nn.Module):
    """`call`, a method of `owner` or a function of it, whose weights are this module's."""

    def __init__(self, call: Callable[..., Any], owner: nn.Module) -> None:
        super().__init__()
        self.call, self.owner = call, owner

    def forward(self, *given: Any) -> Any:
        return self.call(*given)

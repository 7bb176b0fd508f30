"""A method of a network as a module of its own: exporters to other formats only take modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class MethodModule(nn.Module):
    """A module whose forward is `call`, a method of `owner` or a function over it, and whose weights are `owner`'s."""

    def __init__(self, call: Callable[..., Any], owner: nn.Module) -> None:
        super().__init__()
        self.call, self.owner = call, owner

    def forward(self, *inputs: Any) -> Any:
        return self.call(*inputs)

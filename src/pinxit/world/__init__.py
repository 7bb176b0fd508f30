"""The built-in picture world: scenes that are known to the last detail, drawn from sprites and code."""

from pinxit.world.world import World

__all__ = ["World"]

"""The drawing of the picture world: from a `Scene` to pixels, in code and sprites, with Pillow and NumPy alone."""

from pinxit.world.draw.items import item_aspect
from pinxit.world.draw.palette import GROUNDS, PALETTE
from pinxit.world.draw.render import render, render_masks, visible_boxes

__all__ = ["GROUNDS", "PALETTE", "item_aspect", "render", "render_masks", "visible_boxes"]

"""Imagen paints (`recipes.imagen.graph`); so does DeepFloyd IF.

A call of the network has a fixed number of rows that never see each other, so candidate k of seed s is the same
picture, bit for bit, whatever is painted beside it.
"""

from __future__ import annotations

from pinxit.pipelines.graph import Graph
from pinxit.recipes.diffusion.painter import DiffusionPainter
from pinxit.recipes.imagen.graph import Parts, graph


class ImagenPainter(DiffusionPainter):
    """A loaded cascade: Imagen's, DeepFloyd IF's. Open one with `pinxit.load`; settings: `DiffusionPainter`'s."""

    @property
    def parts(self) -> Parts:
        """The loaded models that its stages call."""
        return Parts(self.denoiser, self.config, self.sampling, self.captions, self.ranker, self.tile)

    def _graph(self) -> Graph:
        return graph(self.parts)

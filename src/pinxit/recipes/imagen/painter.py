"""The painter of Imagen and of DeepFloyd IF (`recipes.imagen.graph`).

A call of the network has a fixed number of rows, none of which depends on another: candidate k of seed s is bit for bit
the same, whatever else is being painted.
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

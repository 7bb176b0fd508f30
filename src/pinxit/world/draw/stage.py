"""The stage: a ground and the layers that stand before it, furthest first. Styles repaint a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pinxit.world.draw.items import draw_item
from pinxit.world.draw.lights import lighted
from pinxit.world.draw.links import links
from pinxit.world.draw.palette import GROUNDS, RGB, distance, line_tone
from pinxit.world.draw.pen import Layer
from pinxit.world.draw.places import ground, ground_tones
from pinxit.world.draw.views import check_view, viewed_ground, viewed_layer
from pinxit.world.scene import Scene

_LOST = 75.0  # an item whose colour is nearer than this to the ground's gets a rim
VISIBLE = 128  # an item hides what is behind it where its alpha is at least this


@dataclass(frozen=True, slots=True)
class Stage:
    """What a style repaints. `layers` are in painter's order; `order[k]` is the item that layer k draws. Layers beyond
    those of the items (a leash) lie before them all and belong to none."""

    ground: Image.Image
    layers: tuple[Layer, ...]
    order: tuple[int, ...]
    seed: int
    veil: Image.Image | None = None  # RGBA before everything: rain, snowflakes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.ground.size

    def flat(self) -> Image.Image:
        """Everything painted over the ground: RGB."""
        picture = self.ground.copy()
        for layer in self.layers:
            picture.paste(layer.image, (layer.x, layer.y), layer.image)
        if self.veil:
            picture.paste(self.veil, mask=self.veil)
        return picture

    def alphas(self) -> list[Image.Image]:
        """Each layer's alpha on the whole picture: L images in painter's order."""
        whole = []
        for layer in self.layers:
            alpha = Image.new("L", self.size)
            alpha.paste(layer.image.getchannel("A"), (layer.x, layer.y))
            whole.append(alpha)
        return whole

    def owners(self) -> NDArray[np.int32]:
        """Which item is seen at each pixel: int32 [height, width], -1 for the ground. A leash hides nothing."""
        return self._seen(self.order)

    def regions(self) -> NDArray[np.int32]:
        """`owners` for line drawings, where a link such as a leash counts as an item, numbered after the others."""
        return self._seen((*self.order, *range(len(self.order), len(self.layers))))

    def _seen(self, numbers: Sequence[int]) -> NDArray[np.int32]:
        width, height = self.size
        owner = np.full((height, width), -1, np.int32)
        for number, alpha in zip(numbers, self.alphas(), strict=False):
            owner[np.asarray(alpha) >= VISIBLE] = number
        return owner


def stage_of(scene: Scene, size: int, height: int) -> Stage:
    """The scene's items before its place, `size` pixels wide (boxes are shares of `size`) and `height` high."""
    order = tuple(sorted(range(len(scene.items)), key=lambda k: scene.items[k].depth))
    check_view(scene.view)
    tones = ground_tones(scene.place)
    layers = []
    for k in order:
        layer, colour = draw_item(scene.items[k], size, scene.noise, k, scene.view == "cross-section")
        layer = rimmed(layer, line_tone(colour), size) if colour and _lost(colour, tones) else layer
        layers.append(viewed_layer(scene.view, layer))
    layers += links(scene, size, dict(zip(order, layers, strict=True)))
    place = ground(scene.place, scene.noise, size, height)
    place = viewed_ground(scene.view, place, plain=scene.place in GROUNDS)
    place, veil = lighted(scene.light, place, layers, scene.noise)
    return Stage(place, tuple(layers), order, scene.noise, veil)


def _lost(colour: RGB, tones: Sequence[RGB]) -> bool:
    return any(distance(colour, tone) < _LOST for tone in tones)


def rimmed(layer: Layer, colour: RGB, size: int) -> Layer:
    """The layer with a line of `colour` along the inside of its edge, 1/64 of the picture thick."""
    reach = max(1, size // 64)
    alpha = layer.image.getchannel("A")
    wide = Image.new("L", (alpha.width + 2 * reach, alpha.height + 2 * reach))
    wide.paste(alpha, (reach, reach))
    inner = wide.filter(ImageFilter.MinFilter(2 * reach + 1)).crop(
        (reach, reach, reach + alpha.width, reach + alpha.height)
    )
    image = layer.image.copy()
    image.paste((*colour, 255), mask=inner.point(lambda a: 255 - a))
    image.putalpha(alpha)
    return Layer(image, layer.x, layer.y)

"""How the judge reads colours: an object decides only where to look, and colours are then read from single pixels.

Shapes: B pictures, P patches of a picture, M objects of all pictures together, Q questions about each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.detector_config import DetectorConfig, PicturePredictions

PATCH, STEPS, KEY = 2, 4, 32  # pixels a side of a patch, steps of red, green and blue, width of a key
MOST_ALIKE = 4.0  # bound on a patch's content score, which is weighed against its distance from the box's middle
SHIFT = 1.25  # furthest that a garment's middle may be from its wearer's, in half widths and heights of the box


def tones(pictures_B3HW: Tensor) -> Tensor:
    """A soft histogram of each pixel over an even lattice of STEPS^3 tones in the RGB cube, [B, STEPS^3, H, W].

    A colour between lattice points is shared trilinearly among the eight around it, so that shares change smoothly.
    """
    levels = torch.arange(STEPS, device=pictures_B3HW.device).view(STEPS, 1, 1)
    red, green, blue = (
        (1 - (pictures_B3HW[:, [i]].clamp(0, 1) * (STEPS - 1) - levels).abs()).clamp(min=0) for i in range(3)
    )
    pairs = (red[:, :, None] * green[:, None]).flatten(1, 2)
    return (pairs[:, :, None] * blue[:, None]).flatten(1, 2)


class ColourAttention(nn.Module):
    """Colours by attention: an object's features are the query, patches give the keys, their tones are the values.

    As values come from single pixels and know no shapes, a colour that training never showed on some shape is
    recognised on it all the same; a head over the network's features does not manage that (docs/log.md).
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.near = nn.Conv2d(3 * PATCH**2, KEY, 3, padding=1)
        self.far = nn.Conv2d(config.neck, KEY, 1)
        self.ask = nn.Linear(config.neck, KEY + 1)
        self.tell = nn.Sequential(nn.Linear(STEPS**3, 64), nn.ReLU(), nn.Linear(64, len(config.colours)))
        self.garments = len(config.garments)
        self.ask_garments = nn.Linear(config.neck, self.garments * (KEY + 3)) if config.garments else None
        side = config.size // PATCH
        middles = (torch.arange(side) + 0.5) / side
        self.register_buffer("middles", middles, persistent=False)

    middles: Tensor

    def forward(self, pictures_B3HW: Tensor, features_BChw: Tensor) -> tuple[Tensor, Tensor]:
        """`PicturePredictions.paints` and `PicturePredictions.keys` of pictures in [0, 1]."""
        x = pictures_B3HW * 2 - 1
        paints = F.avg_pool2d(tones(pictures_B3HW), PATCH)
        near = self.near(F.pixel_unshuffle(x, PATCH))
        keys = F.relu(near + F.interpolate(self.far(features_BChw), size=near.shape[2:]))
        return paints.flatten(2).mT, keys.flatten(2).mT

    def colour(self, output: PicturePredictions, picture_M: Tensor, at_MC: Tensor, boxes_M4: Tensor) -> Tensor:
        """Logits [M, colours] of objects that look like `at_MC` in boxes (middle x and y, half width and height)."""
        query = self.ask(at_MC).float()[:, None]
        return self._attend(output, picture_M, query, boxes_M4[:, None]).squeeze(1)

    def garment_colours(self, output: PicturePredictions, picture_M: Tensor, at_MC: Tensor, boxes_M4: Tensor) -> Tensor:
        """Logits [M, garments, colours] of what objects wear, each garment at a predicted place of its own."""
        assert self.ask_garments is not None
        query = self.ask_garments(at_MC).float().view(len(at_MC), self.garments, KEY + 3)
        middles = boxes_M4[:, None, :2] + SHIFT * torch.tanh(query[..., KEY + 1 :]) * boxes_M4[:, None, 2:]
        halves = boxes_M4[:, None, 2:].expand_as(middles)
        return self._attend(output, picture_M, query[..., : KEY + 1], torch.cat([middles, halves], 2))

    def _attend(self, output: PicturePredictions, picture_M: Tensor, query_MQK: Tensor, boxes_MQ4: Tensor) -> Tensor:
        """Logits [M, Q, colours]: attention over patches by content, less a penalty for distance from the box."""
        alike_MQP = torch.einsum("mqk,mpk->mqp", query_MQK[..., :KEY], output.keys[picture_M].float()) * KEY**-0.5
        x, y, half_width, half_height = boxes_MQ4[..., None].unbind(2)
        across = ((self.middles - x) / half_width).square()
        down = ((self.middles - y) / half_height).square()
        outside_MQP = (down[..., :, None] + across[..., None, :]).flatten(2) * (1 + F.softplus(query_MQK[..., KEY:]))
        weights_MQP = (MOST_ALIKE * torch.tanh(alike_MQP / MOST_ALIKE) - outside_MQP).softmax(2)
        seen_MQT = torch.einsum("mqp,mpt->mqt", weights_MQP, output.paints[picture_M].float())
        return self.tell(seen_MQT * STEPS).float()  # type: ignore[no-any-return]

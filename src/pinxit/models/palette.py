"""The judge's reading of colours: an object only decides where to look; what is seen there are tones of single pixels.

Shapes: B pictures, P patches of a picture, M objects of all pictures together, Q questions about each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pinxit.models.detector_config import DetectorConfig, Found

PATCH, STEPS, KEY = 2, 4, 32  # pixels a side of a patch, steps of red, green and blue, width of a key
MOST_ALIKE = 4.0  # how much the look of a patch can weigh against its place in or outside the object's box
SHIFT = 1.25  # how far from an object's middle its garments are looked for at most, in halves of its sides


def tones(pictures_B3HW: Tensor) -> Tensor:
    """Each pixel's shares of the STEPS^3 tones of an even lattice in the colour cube, [B, STEPS^3, H, W].

    A colour between lattice points is shared among the eight around it, so that shares and colours change smoothly.
    """
    levels = torch.arange(STEPS, device=pictures_B3HW.device).view(STEPS, 1, 1)
    red, green, blue = (
        (1 - (pictures_B3HW[:, [i]].clamp(0, 1) * (STEPS - 1) - levels).abs()).clamp(min=0) for i in range(3)
    )
    pairs = (red[:, :, None] * green[:, None]).flatten(1, 2)
    return (pairs[:, :, None] * blue[:, None]).flatten(1, 2)


class Palette(nn.Module):
    """Colours, whatever has them.

    What an object looks like only decides which patches are looked at (attention); what is seen there are tones, told
    from single pixels. So a colour that was never shown in some shape is recognised in it all the same, which a head
    that reads the network's features does not do (docs/log.md).
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
        """`Found.paints` and `Found.keys` of pictures in [0, 1]."""
        x = pictures_B3HW * 2 - 1
        paints = F.avg_pool2d(tones(pictures_B3HW), PATCH)
        near = self.near(F.pixel_unshuffle(x, PATCH))
        keys = F.relu(near + F.interpolate(self.far(features_BChw), size=near.shape[2:]))
        return paints.flatten(2).mT, keys.flatten(2).mT

    def colour(self, output: Found, picture_M: Tensor, at_MC: Tensor, boxes_M4: Tensor) -> Tensor:
        """Logits [M, colours] of objects that look like `at_MC` in boxes (middle x and y, half width and height)."""
        asked = self.ask(at_MC).float()[:, None]
        return self._seen(output, picture_M, asked, boxes_M4[:, None]).squeeze(1)

    def garment_colours(self, output: Found, picture_M: Tensor, at_MC: Tensor, boxes_M4: Tensor) -> Tensor:
        """Logits [M, garments, colours] of what objects wear, each garment looked for at a place of its own."""
        assert self.ask_garments is not None
        asked = self.ask_garments(at_MC).float().view(len(at_MC), self.garments, KEY + 3)
        middles = boxes_M4[:, None, :2] + SHIFT * torch.tanh(asked[..., KEY + 1 :]) * boxes_M4[:, None, 2:]
        halves = boxes_M4[:, None, 2:].expand_as(middles)
        return self._seen(output, picture_M, asked[..., : KEY + 1], torch.cat([middles, halves], 2))

    def _seen(self, output: Found, picture_M: Tensor, asked_MQK: Tensor, boxes_MQ4: Tensor) -> Tensor:
        """Logits [M, Q, colours] where patches that are asked for lie near the boxes."""
        alike_MQP = torch.einsum("mqk,mpk->mqp", asked_MQK[..., :KEY], output.keys[picture_M].float()) * KEY**-0.5
        x, y, half_width, half_height = boxes_MQ4[..., None].unbind(2)
        across = ((self.middles - x) / half_width).square()
        down = ((self.middles - y) / half_height).square()
        outside_MQP = (down[..., :, None] + across[..., None, :]).flatten(2) * (1 + F.softplus(asked_MQK[..., KEY:]))
        weights_MQP = (MOST_ALIKE * torch.tanh(alike_MQP / MOST_ALIKE) - outside_MQP).softmax(2)
        seen_MQT = torch.einsum("mqp,mpt->mqt", weights_MQP, output.paints[picture_M].float())
        return self.tell(seen_MQT * STEPS).float()  # type: ignore[no-any-return]

"""CLIP guidance: predicted pictures are moved a little towards what CLIP should see in them.

GLIDE (arXiv 2112.10741, section 2.4) moves the mean of each step of sampling along the gradient of CLIP's dot product
of picture and caption, of a CLIP that was trained on noisy pictures. A CLIP that has only seen clean ones can be asked
about the predicted clean picture instead, which is moved itself ("universal guidance", arXiv 2302.07121, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 1e-12  # size of a gradient: one of zeros, of a CLIP that tells nothing of a picture, moves nothing


@dataclass(frozen=True)
class ClipGuidance:
    """Where predictions are moved to, and how far."""

    embed: Callable[[Tensor], Tensor]  # pictures [B, 3, S, S] in [0, 1] -> unit vectors [B, E], with gradients
    target: Tensor  # the unit vector [E] of a picture or a caption, on any device
    step: float  # root mean square of a move of a prediction, whose values lie in [-1, 1], where all is noise
    moves: int = 1  # of each prediction, each along a gradient of its own

    def __call__(self, x0: Tensor, sigma: float) -> Tensor:
        """A prediction [3, S, S] in [-1, 1] from x = x0 + sigma n, moved so that its cosine to `target` rises.

        By sigma^2 / (1 + sigma^2) of `step`: the variance that values of unit variance have left when x is known. So
        the last steps of sampling remove the specks that CLIP sees and nobody else.
        """
        length = self.step * sigma**2 / (1 + sigma**2)
        for _ in range(self.moves):
            x0 = (x0 + length * self._direction(x0)).clamp(-1, 1)
        return x0

    def _direction(self, x0: Tensor) -> Tensor:
        """The gradient of the cosine, [3, S, S], with a mean square of one."""
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(x0.device.type, enabled=False):
            picture = x0.detach().clone().requires_grad_()
            seen = self.embed((picture[None] + 1) / 2)[0]
            cosine = seen @ self.target.detach().clone().to(seen)
            (gradient,) = torch.autograd.grad(cosine, picture)
        return gradient / gradient.square().mean().sqrt().clamp_min(SMALLEST)

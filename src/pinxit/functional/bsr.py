"""Degradations of an upsampler's low-resolution input in training, so that it learns to repair what a model draws.

unCLIP (arXiv 2204.06125, section 2.1): a Gaussian blur for the first upsampler; for the second the diverse degradations
of BSRGAN (arXiv 2103.14006), as latent diffusion models use them. Pictures are float [B, C, H, W] in [0, 1]; random
numbers come from an explicit generator, and strengths are drawn for each picture.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pinxit.functional.corruption import noisy, quantised
from pinxit.functional.draws import OneStream

SIZE, SIGMA = 3, 0.6  # of the first upsampler's blur, in pixels (section 2.1)
WIDEST = 2.0  # pixels, standard deviation of the second's blur
NOISIEST = 25 / 255  # of its noise
ROUGHEST = 0.4  # of its JPEG-like rounding
SCALES = (0.5, 1.5)  # of its resizing there and back


def gaussian_blur(x: Tensor, sigma: float = SIGMA, size: int = SIZE) -> Tensor:
    """Blurred by a Gaussian of `sigma` pixels cut to `size` x `size`, edges repeated."""
    sigma_B = x.new_full((len(x),), sigma)
    return _blurred(x, sigma_B, sigma_B, x.new_zeros(len(x)), size)


def degraded(x: Tensor, generator: Generator) -> Tensor:
    """Blur, resizing and back, noise and JPEG-like rounding of 8 x 8 blocks, each of random strength, in random order.

    H and W must be multiples of 8. The order is drawn once for the whole batch.
    """
    for step in torch.randperm(4, generator=generator, device=generator.device).tolist():
        if step == 0:
            wide, narrow = (WIDEST * (0.05 + 0.95 * _uniform(x, generator)) for _ in range(2))
            x = _blurred(x, wide, narrow, torch.pi * _uniform(x, generator), 7)
        elif step == 1:
            x = _resized(x, generator)
        elif step == 2:
            x = noisy(x, NOISIEST * _uniform(x, generator), OneStream(generator))
        else:
            x = quantised(x, ROUGHEST * _uniform(x, generator))
    return x.clamp(0, 1)


def _uniform(x: Tensor, generator: Generator) -> Tensor:
    return torch.rand(len(x), generator=generator, device=generator.device).to(x)


def _resized(x: Tensor, generator: Generator) -> Tensor:
    """Resized by a random factor, and back."""
    low, high = SCALES
    scale = low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))
    size = [max(1, round(side * scale)) for side in x.shape[2:]]
    there = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
    return F.interpolate(there, x.shape[2:], mode="bicubic", antialias=True, align_corners=False)


def _blurred(x: Tensor, along_B: Tensor, across_B: Tensor, turn_B: Tensor, size: int) -> Tensor:
    """Each picture blurred by a Gaussian with its own standard deviations along two axes, rotated by `turn` radians."""
    B, C, H, W = x.shape
    places = torch.arange(size, device=x.device, dtype=x.dtype) - (size - 1) / 2
    down, right = torch.meshgrid(places, places, indexing="ij")
    cos, sin = turn_B.cos()[:, None, None], turn_B.sin()[:, None, None]
    first = (right * cos + down * sin) / along_B[:, None, None]
    second = (down * cos - right * sin) / across_B[:, None, None]
    kernel = torch.exp(-0.5 * (first.square() + second.square()))
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    padded = F.pad(x, [size // 2] * 4, mode="replicate").reshape(1, B * C, H + size - 1, W + size - 1)
    weight = kernel[:, None].expand(B, C, size, size).reshape(B * C, 1, size, size)
    return F.conv2d(padded, weight, groups=B * C).view(B, C, H, W)

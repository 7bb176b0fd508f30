"""Resizing and cropping: how a picture of any size becomes one of S x S pixels.

Inference and banks use `square_crop`. It stands for CLIP's random square crop (section 2.4) too, as banks hold square
pictures, which have only one. The augmentations are those of DALL-E's appendices A.1 (dVAE) and B.1 (transformer), each
a function of the picture and an explicit generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pinxit.data.decode import rgb
from pinxit.errors import UsageError
from pinxit.schema import Count, checked, plain_number
from pinxit.types import Fitting, check_pixels

if TYPE_CHECKING:
    from torch import Tensor

    from pinxit.types import Filter, Picture

_FILTERS: dict[Filter, Image.Resampling] = {
    "lanczos": Image.Resampling.LANCZOS,  # the dVAE's inference (openai/DALL-E)
    "bicubic": Image.Resampling.BICUBIC,  # CLIP's preprocessing
    "area": Image.Resampling.BOX,  # DALL-E's training
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
}


def square_crop(picture: Picture | Image.Image, size: int, method: Filter = "lanczos") -> Picture:
    """Resize the shorter side to `size`, then crop the centre: uint8 [size, size, 3].

    Only the pixels that are kept are computed, so a very long picture costs no more than a square one. Raises
    UsageError for what is no picture, for a size below 1 and for an unknown method.
    """
    image = _image(picture)
    if image.size == (size, size):
        return np.array(image)
    return preprocess(image, size, Fitting(method=method))


def preprocess(picture: Picture | Image.Image, size: int, fitting: Fitting) -> Picture:
    """Preprocess a picture by `fitting` for a model of `size` x `size` pixels: uint8 [size, size, 3].

    Raises UsageError for what is no picture, and for a size below 1.
    """
    image, size = _image(picture), checked(Count, plain_number(size), "size")
    method, side = _FILTERS[fitting.method], fitting.side or size
    if fitting.resized == "longer":
        scale = side / max(image.size)
        small = image.resize((max(1, round(scale * image.width)), max(1, round(scale * image.height))), method)
        paper = Image.new("RGB", (size, size), (fitting.fill,) * 3)
        paper.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
        return np.array(paper)
    short = min(image.size)
    boxes = [_centre(old, short if fitting.resized == "shorter" else old, size, side) for old in image.size]
    region = (boxes[0][0], boxes[1][0], boxes[0][1], boxes[1][1])
    return np.array(image.resize((size, size), method, box=region))


def square_bounds(width: int, height: int, size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Which part (start, stop) of the columns and of the rows, in source pixels, `square_crop` keeps at `size`."""
    columns, rows = (_centre(side, min(width, height), size, size) for side in (width, height))
    return columns, rows


def augment_dvae(picture: Picture, size: int, rng: np.random.Generator) -> Picture:
    """DALL-E A.1: a random square, shrunk by area to 9/8 .. 12/8 of `size`, a random crop of it, perhaps mirrored.

    If the shorter side is less than `size`, the picture is enlarged to it first, a case the paper does not mention.
    """
    short = min(picture.shape[:2])
    cut = _crop(picture, _below(rng, picture.shape[0] - short), _below(rng, picture.shape[1] - short), short)
    low, high = (max(size, min(short, round(share * size))) for share in (9 / 8, 12 / 8))
    result = _random_crop(_shrink(cut, int(rng.integers(low, high + 1))), size, rng)
    return np.ascontiguousarray(result[:, ::-1]) if rng.random() < 0.5 else result


def augment_transformer(picture: Picture, size: int, rng: np.random.Generator) -> Picture:
    """DALL-E B.1: a square from near the centre, shrunk by area to 1 .. 9/8 of `size`, a random crop of it.

    Never mirrored, since pictures hold text and captions speak of left and right.
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    top, left = (_near_centre(side - short, rng) for side in (height, width))
    cut = _crop(picture, top, left, short)
    high = max(size, min(short, round(9 / 8 * size)))
    return _random_crop(_shrink(cut, int(rng.integers(size, high + 1))), size, rng)


def to_tensor(pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    """uint8 [B, H, W, 3] as float32 [B, 3, H, W] in [0, 1], models' input. Raises UsageError for anything else."""
    import torch

    ordered = np.array(pictures, order="C")  # kernels differ by how pictures lie in memory
    if ordered.dtype != np.uint8 or ordered.ndim != 4 or ordered.shape[3] != 3:
        found = f"{ordered.dtype} {list(ordered.shape)}"
        raise UsageError(f"pictures must be uint8 [number, height, width, 3], 0 to 255, not {found}.")
    return torch.from_numpy(ordered).permute(0, 3, 1, 2).float().div_(255)


def to_pictures(pixels: Tensor) -> np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]:
    """float [B, 3, H, W], clamped to [0, 1], as uint8 [B, H, W, 3], rounded to nearest."""
    import torch

    levels = pixels.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def _image(picture: Picture | Image.Image) -> Image.Image:
    """A picture as Pillow has it, in RGB."""
    if isinstance(picture, Image.Image):
        return picture if picture.mode == "RGB" and not picture.has_transparency_data else rgb(picture)
    check_pixels(picture)
    return Image.fromarray(picture)


def _centre(side: int, short: int, size: int, shorter: int) -> tuple[float, float]:
    """The part (start, stop) of a side, in source pixels, that is kept when `size` pixels are cropped from the centre.

    `side`: its length; the picture is resized so that `short` source pixels become `shorter`.
    """
    resized = max(shorter, round(side * shorter / short))
    start = round((resized - size) / 2)
    return start * side / resized, (start + size) * side / resized


def _near_centre(slack: int, rng: np.random.Generator) -> int:
    """A random offset in [3/8, 5/8) of `slack`, a range of at least one integer."""
    low = 3 * slack // 8
    return int(rng.integers(low, max(low + 1, 5 * slack // 8)))


def _below(rng: np.random.Generator, slack: int) -> int:
    return int(rng.integers(0, slack + 1))


def _crop(picture: Picture, top: int, left: int, side: int) -> Picture:
    return picture[top : top + side, left : left + side]


def _random_crop(picture: Picture, size: int, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    return np.ascontiguousarray(_crop(picture, _below(rng, height - size), _below(rng, width - size), size))


def _shrink(picture: Picture, side: int) -> Picture:
    if picture.shape[:2] == (side, side):
        return picture
    return np.array(Image.fromarray(picture).resize((side, side), _FILTERS["area"]))

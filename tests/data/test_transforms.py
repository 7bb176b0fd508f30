from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from pinxit.data.transforms import (
    augment_dvae,
    augment_transformer,
    square_crop,
    to_pictures,
    to_tensor,
)
from pinxit.errors import UsageError
from tests.data.helpers import gradient

if TYPE_CHECKING:
    from pinxit.types import Filter, Picture

Augment = Callable[["Picture", int, np.random.Generator], "Picture"]
PIL_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC, "area": Image.Resampling.BOX}


def noise(height: int, width: int) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def two_steps(picture: Picture, size: int, method: Filter) -> Picture:
    """The published preprocessing, word for word: resize the shorter side, then crop the centre."""
    image = Image.fromarray(picture)
    scale = size / min(image.size)
    wide, high = (max(size, round(scale * side)) for side in image.size)
    resized = image.resize((wide, high), PIL_FILTERS[method])
    left, top = round((wide - size) / 2), round((high - size) / 2)
    return np.array(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("method", ["lanczos", "bicubic", "area"])
@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (64, 64), (65, 64), (40, 50), (97, 401)])
def test_square_equals_resizing_then_cropping(shape: tuple[int, int], method: Filter) -> None:
    picture = noise(*shape)
    found = square_crop(picture, 64, method)
    assert found.dtype == np.uint8 and found.shape == (64, 64, 3)
    assert np.abs(found.astype(int) - two_steps(picture, 64, method)).max() <= 1


def test_square_keeps_the_centre() -> None:
    """300 x 200 to 224: the red ramp runs across the central two thirds (spec/clip: keeps the centre)."""
    found = square_crop(gradient(200, 300), 224, "bicubic")
    assert abs(int(found[112, 0, 0]) - 255 / 6) < 3 and abs(int(found[112, -1, 0]) - 255 * 5 / 6) < 3
    assert found[0, 112, 1] < 3 and found[-1, 112, 1] > 252


def test_square_leaves_a_fitting_picture_alone() -> None:
    assert np.array_equal(square_crop(noise(32, 32), 32), noise(32, 32))


@pytest.mark.parametrize(
    ("picture", "size", "message"),
    [
        (gradient(9, 9), 0, "size must be at least 1, not 0"),
        (gradient(9, 9), 2.5, "size must be a whole number"),
        (gradient(9, 9) / 255, 4, r"not float64 \[9, 9, 3\]"),
        (gradient(9, 9)[:, :, 0], 4, r"not uint8 \[9, 9\]"),
    ],
)
def test_what_is_no_picture_or_size_is_refused(picture: Any, size: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        square_crop(picture, size)


def test_a_picture_of_pillow_in_any_mode_becomes_rgb() -> None:
    white = Image.new("RGBA", (6, 8), (9, 9, 9, 0))
    clear = Image.new("RGB", (4, 4), (9, 9, 9))
    clear.info["transparency"] = (9, 9, 9)  # as a PNG may name one colour
    for image in (white, white.resize((4, 4)), clear, Image.new("L", (6, 8), 255), Image.new("I;16", (4, 4), 65535)):
        assert np.array_equal(square_crop(image, 4), np.full((4, 4, 3), 255))
    with pytest.raises(UsageError, match=r"fitting.method must be one of .*, not 'cubic'"):
        square_crop(white, 4, "cubic")  # type: ignore[arg-type]


def test_a_ribbon_costs_no_more_than_a_square() -> None:
    """Resizing first would need a picture of 256 x 12,800,000 pixels."""
    start = time.perf_counter()
    assert square_crop(np.zeros((1, 50_000, 3), dtype=np.uint8), 256).shape == (256, 256, 3)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("augment", [augment_dvae, augment_transformer])
@pytest.mark.parametrize("shape", [(100, 140), (140, 100), (64, 64), (70, 64), (40, 50), (300, 80)])
def test_augmentations_give_the_size_and_depend_on_the_generator(augment: Augment, shape: tuple[int, int]) -> None:
    picture = noise(*shape)
    one, same = (augment(picture, 64, np.random.default_rng(5)) for _ in range(2))
    assert one.shape == (64, 64, 3) and one.dtype == np.uint8 and one.flags.c_contiguous
    assert np.array_equal(one, same)
    assert np.array_equal(picture, noise(*shape)), "the source must stay as it is"


def corners(augment: Augment, draws: int = 400) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Where crops of a gradient begin and end: [draws, (left, right, top, bottom)] as fractions of its sides."""
    found = [augment(gradient(128, 256), 64, np.random.default_rng(seed)) for seed in range(draws)]
    return np.array([[c[32, 0, 0], c[32, -1, 0], c[0, 32, 1], c[-1, 32, 1]] for c in found]) / 255


def test_dvae_crops_anywhere_and_mirrors_half_of_the_time() -> None:
    left, right, top, bottom = corners(augment_dvae).T
    mirrored = left > right
    assert 0.4 < mirrored.mean() < 0.6
    low, high = np.minimum(left, right), np.maximum(left, right)
    assert low.min() < 0.03 and high.max() > 0.97
    # A 64-pixel crop of 72 .. 96 pixels shows 64/96 .. 64/72 of the square, which is half as wide as the picture.
    shown = bottom - top
    assert shown.min() > 64 / 96 - 0.03 and shown.max() < 64 / 72 + 0.03 and np.ptp(shown) > 0.15


def test_the_transformer_crops_near_the_centre_and_never_mirrors() -> None:
    left, right, top, bottom = corners(augment_transformer).T
    assert (left < right).all()
    # The square's offset is 3/8 .. 5/8 of the slack of half a width; the crop then loses at most 1/9 of the square.
    assert left.min() > 3 / 16 - 0.02 and right.max() < 5 / 16 + 1 / 2 + 0.02
    shown = bottom - top
    assert shown.min() > 64 / 72 - 0.03 and shown.max() > 0.97


def test_tensors_and_pictures_are_inverse() -> None:
    pictures = np.stack([noise(8, 8), gradient(8, 8)])
    tensor = to_tensor(pictures)
    assert tensor.shape == (2, 3, 8, 8) and tensor.dtype == torch.float32
    assert tensor[1, 0, 0, -1] == 1.0 and tensor.min() >= 0 and tensor.max() <= 1
    assert np.array_equal(to_pictures(tensor), pictures)


def test_pictures_are_clamped_and_rounded() -> None:
    values = torch.tensor([-1.0, 0.5, 2.0]).view(1, 3, 1, 1)
    assert to_pictures(values).tolist() == [[[[0, 128, 255]]]]


@pytest.mark.parametrize("pictures", [gradient(4, 4)[None] / 255, gradient(4, 4), np.zeros((1, 4, 4, 4), np.uint8), []])
def test_to_tensor_refuses_what_are_no_pictures(pictures: Any) -> None:
    with pytest.raises(UsageError, match=r"pictures must be uint8 \[number, height, width, 3\], 0 to 255, not "):
        to_tensor(pictures)


def test_to_tensor_takes_a_read_only_map() -> None:
    pictures = gradient(4, 4)[None]
    pictures.setflags(write=False)
    to_tensor(pictures).zero_()
    assert pictures.max() == 255

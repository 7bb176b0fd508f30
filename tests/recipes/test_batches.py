"""How training pictures are varied."""

from __future__ import annotations

import numpy as np

from pinxit.recipes.batches import Augment, Chance, augmented, resized

SIDE = 8
PICTURE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
MANY = np.stack([PICTURE] * 200)


def chance() -> Chance:
    return np.random.default_rng(1).random((len(MANY), 3))


def test_half_is_mirrored_left_to_right() -> None:
    found = augmented(MANY, Augment(mirror=True), chance())
    kept, mirrored = ((found == one).all((1, 2, 3)) for one in (PICTURE, PICTURE[:, ::-1]))
    assert (kept | mirrored).all() and 70 < mirrored.sum() < 130


def test_shifts_go_both_ways_each_by_itself_and_repeat_the_edge() -> None:
    most = 2
    wide = np.pad(PICTURE, ((most, most), (most, most), (0, 0)), mode="edge")
    windows = {wide[y : y + SIDE, x : x + SIDE].tobytes(): (y, x) for y in range(5) for x in range(5)}
    places = {windows[one.tobytes()] for one in augmented(MANY, Augment(shift=most / SIDE), chance())}
    assert places == {(y, x) for y in range(5) for x in range(5)}


def test_nothing_asked_nothing_done_and_stored_larger_is_shrunk_by_means() -> None:
    assert np.array_equal(augmented(MANY, Augment(), chance()), MANY)
    means = MANY[:3].reshape(3, 4, 2, 4, 2, 3).mean((2, 4))
    assert np.abs(resized(MANY[:3], 4) - means).max() <= 1 and np.array_equal(resized(MANY[:3], 8), MANY[:3])

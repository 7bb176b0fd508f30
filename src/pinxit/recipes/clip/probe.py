"""Linear probes of a frozen tower's features (Radford et al. 2021, section 3.2 and appendix A.3).

Logistic regression on the features before the projection. The inverse regularisation strength, scikit-learn's C, is
swept over 96 logarithmic steps between 1e-6 and 1e6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pinxit.data.picture_files import picture_files
from pinxit.errors import DataError
from pinxit.functional.logistic import Linear, fit_logistic

STEPS = 97  # points of the sweep, 96 steps between them: 8 a decade
COARSE = 16  # steps between the first points: 1e-6, 1e-4, ... 1e6
HELD_OUT = 0.2  # share of the training pictures that chooses the strength


@dataclass(frozen=True)
class ProbeResult:
    """A probe and its accuracy."""

    strength: float  # C, see `functional.logistic`
    held_out: float  # accuracy on the pictures that chose the strength
    accuracy: float  # on the test pictures
    per_class: dict[str, float]
    classifier: Linear


def strengths() -> list[float]:
    """All the strengths of the sweep, small to large."""
    return [10 ** (-6 + 12 * step / (STEPS - 1)) for step in range(STEPS)]


def sweep(score: Callable[[float], float]) -> float:
    """The best strength by a search from coarse to fine: half the step around the best point so far, and repeat.

    `score` is called once a strength. Ties go to the smaller strength, the simpler classifier.
    """
    grid, known = strengths(), dict[int, float]()

    def ask(step: int) -> float:
        if step not in known:
            known[step] = score(grid[step])
        return known[step]

    distance = COARSE
    best = max(range(0, STEPS, COARSE), key=lambda step: (ask(step), -step))
    while distance > 1:
        distance //= 2
        near = [step for step in (best - distance, best, best + distance) if 0 <= step < STEPS]
        best = max(near, key=lambda step: (ask(step), -step))
    return grid[best]


def probe(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], names: Sequence[str], seed: int = 0
) -> ProbeResult:
    """Fit on `train` (features [N, D], classes [N]) and score on `test`; a fifth of `train` chooses the strength.

    Raises DataError for fewer than two training pictures.
    """
    x, y = train
    if len(x) < 2:
        raise DataError("a probe needs at least two training pictures that can be read, one of them to choose C.")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held, kept = order[: max(1, round(HELD_OUT * len(x)))], order[max(1, round(HELD_OUT * len(x))) :]
    mean, spread = x.double().mean(0), x.double().std() + 1e-12  # one number, which keeps the features' relative scales

    def normal(features: Tensor) -> Tensor:
        return (features.double() - mean) / spread

    last: Linear | None = None

    def score(strength: float) -> float:
        nonlocal last
        last = fit_logistic(normal(x[kept]), y[kept], len(names), strength, last)
        return accuracy(last, normal(x[held]), y[held])

    best = sweep(score)
    final = fit_logistic(normal(x), y, len(names), best)
    right = final(normal(test[0])).argmax(1) == test[1]
    per_class = {name: right[test[1] == place].double().mean().item() for place, name in enumerate(names)}
    return ProbeResult(best, score(best), right.double().mean().item(), per_class, final)


def accuracy(classifier: Linear, x_ND: Tensor, y_N: Tensor) -> float:
    """Share of the rows that are classified correctly."""
    return (classifier(x_ND).argmax(1) == y_N).double().mean().item()


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Pictures by the name of the sub-folder they are in. Raises DataError for fewer than two classes."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = {name: picture_files([folder / name]) for name in names}
    if len(files) < 2:
        raise DataError(f"{folder} needs a sub-folder of pictures for each class, at least two.")
    return files


def stacked(rows: Sequence[tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], int]]) -> tuple[Tensor, Tensor]:
    """(features [n, D], their class) of several groups as (features [N, D], classes [N]), as `probe` takes them."""
    x = torch.from_numpy(np.concatenate([features for features, _ in rows]))
    y = torch.cat([torch.full((len(features),), place) for features, place in rows])
    return x, y

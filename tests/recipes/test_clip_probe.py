"""Linear probes: the sweep, what is learnt, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pinxit.cli import app
from pinxit.errors import DataError, PinxitError
from pinxit.functional.logistic import fit_logistic
from pinxit.pictures import write_png
from pinxit.recipes.clip.probe import probe, strengths, sweep


@pytest.mark.parametrize("peak", [-6.0, -3.3, 0.0, 2.6, 6.0])
def test_the_sweep_finds_a_single_peak_with_few_questions(peak: float) -> None:
    asked = []

    def score(strength: float) -> float:
        asked.append(strength)
        return -abs(math.log10(strength) - peak)

    best = sweep(score)
    assert abs(math.log10(best) - peak) <= 1 / 16 + 1e-9
    assert len(asked) == len(set(asked)) <= 7 + 2 * 4
    grid = strengths()
    assert len(grid) == 97 and grid[0] == pytest.approx(1e-6) and grid[-1] == pytest.approx(1e6)


def test_learns_what_is_linear_and_nothing_more() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 4
    x = torch.randn(200, 8, generator=generator) + 6 * torch.nn.functional.one_hot(y, 8)
    found = probe((x[:120], y[:120]), (x[120:], y[120:]), ["a", "b", "c", "d"])
    assert found.accuracy > 0.95 and set(found.per_class) == {"a", "b", "c", "d"}
    noise = probe((torch.randn(120, 8, generator=generator), y[:120]), (x[120:], y[120:]), ["a", "b", "c", "d"])
    assert noise.accuracy < 0.6


def test_the_command(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
            for number in range(6):
                picture = np.clip(np.array(colour) + rng.integers(-30, 30, (72, 72, 3)), 0, 255).astype(np.uint8)
                write_png(tmp_path / part / name / f"{number}.png", picture)
    call = ["probe", str(tmp_path / "train"), str(tmp_path / "test"), "--device", "cpu"]
    told = CliRunner().invoke(app, [*call, "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["accuracy"] == 1.0 and found["per_class"] == {"blue": 1.0, "red": 1.0}
    (tmp_path / "test" / "green").mkdir()
    write_png(tmp_path / "test" / "green" / "1.png", np.zeros((8, 8, 3), np.uint8))
    for arguments, message in ((call, "lacks: green"), (["probe", "nowhere", "nowhere"], "no folder nowhere")):
        with pytest.raises(PinxitError, match=message):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
    with pytest.raises(PinxitError, match="at least two"):
        CliRunner().invoke(app, ["probe", str(tmp_path / "train" / "red"), str(tmp_path)], catch_exceptions=False)


def test_a_class_is_scored_by_its_own_pictures_and_the_strength_by_others_than_are_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four of six test pictures that are said to show "a" show it, and both of those of "b"."""
    sizes = list[int]()

    def noted(x: torch.Tensor, *about: Any) -> Any:
        sizes.append(len(x))
        return fit_logistic(x, *about)

    monkeypatch.setattr("pinxit.recipes.clip.probe.fit_logistic", noted)
    y = torch.arange(40) % 2
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) + 9 * y[:, None]
    shown, said = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), torch.tensor([0] * 6 + [1] * 2)
    found = probe((x, y), (9.0 * shown[:, None].expand(8, 3), said), ["a", "b"])
    assert found.per_class == {"a": pytest.approx(4 / 6), "b": 1.0} and found.accuracy == 6 / 8
    assert set(sizes) == {32, 40} and sizes.count(40) == 1, "a fifth is held out"


def test_of_equal_strengths_the_smallest_is_taken() -> None:
    assert sweep(lambda strength: 1.0) == strengths()[0]
    assert sweep(lambda strength: float(strength > 1.5)) == strengths()[50]


def test_the_strength_is_chosen_and_all_training_pictures_are_fitted() -> None:
    """With a tiny strength nothing but the classes' sizes is learnt; the winner is fitted again on all rows."""
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([torch.zeros(60), torch.ones(20)]).long()
    x = torch.randn(80, 4, generator=generator) + 3 * y[:, None]
    found = probe((x, y), (x, y), ["many", "few"])
    assert found.strength > strengths()[0] and found.held_out > 0.9
    normal = (x.double() - x.double().mean(0)) / x.double().std()
    whole = fit_logistic(normal, y, 2, found.strength)
    torch.testing.assert_close(found.classifier.weight, whole.weight, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.classifier.bias, whole.bias, atol=1e-5, rtol=1e-3)


def test_one_training_picture_is_too_few() -> None:
    x, y = torch.ones(2, 4), torch.tensor([0, 1])
    with pytest.raises(DataError, match="at least two training pictures that can be read"):
        probe((x[:1], y[:1]), (x, y), ["a", "b"])
    assert probe((x, y), (x, y), ["a", "b"]).held_out in (0.0, 1.0)

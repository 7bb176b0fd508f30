"""Karlo's own networks, cut among ranks: they go on from published weights to what copies of them become."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pinxit.recipes.karlo import stages
from pinxit.recipes.karlo.published import open_karlo
from pinxit.recipes.karlo.run import KarloRun, run_of
from pinxit.training import sharding
from pinxit.training.loop import Weights
from tests.recipes import karlos
from tests.recipes.squares import write_squares
from tests.recipes.test_cut_tasks import SMALL, both, check_going_on, check_gradients, units
from tests.recipes.test_tasks import check_law

pytestmark = pytest.mark.timeout(1800)  # processes that wait for each other are slow where others work, too
NETWORKS = ("prior", "decoder", "super_res_first", "super_res_last")
EXACT = ("prior",)  # without skips
EVERY = [*NETWORKS[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS[2:])]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> KarloRun:
    """What all networks learn from and start with."""
    place = tmp_path_factory.mktemp("karlo")
    karlos.save(place / "karlo")
    changes = [f"plans.{name}.images=8" for name in NETWORKS]
    changes += [f"data.source={write_squares(place / 'squares')}", "pictures=8", "drop=0.3", "drop_image=0.3"]
    found = run_of(place / "run", open_karlo(place / "karlo"), None, changes, "cpu", False)
    stages.train(found, ["pictures", "texts", "vectors"])
    return found


def published(run: KarloRun, name: str) -> tuple[Any, Weights | None]:
    """A network's task, and its published weights."""
    task = run.task(name)
    return task, run.brought(task)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_made_of_rows_is_what_is_made_of_their_parts(run: KarloRun, name: str) -> None:
    check_law(run.task(name), 2)


@pytest.mark.parametrize("name", EVERY)
def test_two_ranks_that_cut_have_the_gradients_of_two_that_copy(
    run: KarloRun, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, init = published(run, name)
    copied, cut = both(tmp_path, partial(published, run, name), 8)
    # A bias before a group norm has no gradient but the noise of 32 bits, and a Karlo has many.
    check_gradients(copied, cut, name in EXACT, noise=1e-7)
    assert init is not None
    for key, tensor in init[name].items():  # from which one update has moved them by no more than its rate
        assert float((copied[f"weights/{name}/{key}"] - tensor).abs().max()) < 2e-3, key
    monkeypatch.setattr(sharding, "UNIT", SMALL)
    assert units(task) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_that_is_cut_goes_on_to_what_copies_become(run: KarloRun, tmp_path: Path, name: str) -> None:
    check_going_on(tmp_path, partial(published, run, name), name in EXACT)

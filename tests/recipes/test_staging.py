"""What the stages of all recipes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pinxit.errors import UsageError
from pinxit.files import write_json
from pinxit.recipes import estimate, provenance, staging
from pinxit.recipes.classifier import STAGES as CLASSIFIER
from pinxit.recipes.classifier import ClassifierConfig, ClassifierRun
from pinxit.recipes.clip.presets import preset as clip
from pinxit.recipes.clip.run import STAGES as CLIP
from pinxit.recipes.clip.run import ClipRun
from pinxit.recipes.dalle.presets import preset as dalle
from pinxit.recipes.dalle.run import STAGES as DALLE
from pinxit.recipes.dalle.run import DalleRun
from pinxit.recipes.imagen.presets import preset as imagen
from pinxit.recipes.imagen.run import ImagenRun
from pinxit.recipes.karlo.config import KarloConfig
from pinxit.recipes.karlo.run import KarloRun
from pinxit.recipes.staging import StoppedError
from pinxit.recipes.unclip.presets import preset as unclip
from pinxit.recipes.unclip.run import UnclipRun
from pinxit.recipes.warm_start import START, note_start, read_start
from pinxit.training import state
from pinxit.training.parallel import Ranks
from pinxit.training.plan import Plan
from pinxit.training.stop import Stop
from tests.training.toy import Toy
from tests.training.toy import plan as toy_plan

NOWHERE = Path("nowhere")
RUNS: list[tuple[Any, Sequence[str]]] = [
    (ClassifierRun(NOWHERE, ClassifierConfig()), CLASSIFIER),
    (ClipRun(NOWHERE, clip("nano")), CLIP),
    (DalleRun(NOWHERE, dalle("nano")), DALLE),
    (ImagenRun(NOWHERE, imagen("nano")), ()),
    (UnclipRun(NOWHERE, unclip("nano")), ()),
    (KarloRun(NOWHERE, KarloConfig("karlo")), ()),
]


@pytest.mark.parametrize(("run", "stages"), RUNS, ids=lambda one: type(one).__name__)
def test_what_does_not_train_is_done_by_one_rank(run: Any, stages: Sequence[str]) -> None:
    """Several that encoded the same captions into one folder deleted and emptied each other's files."""
    trained = getattr(run, "trained", ("classifier",))
    assert [stage for stage in stages or run.stages if stage not in run.MARKS] == list(trained)


def test_a_stage_tells_of_what_was_seen_before_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last lines of its log only what is shown; a stage that rests tells what came with the checkpoint."""
    before = {"images": 30, "hours": 1.0, "loss": 9.0, "machine": {"device": "old"}}
    run: Any = SimpleNamespace(before=lambda stage: before, path=NOWHERE.joinpath)
    seen, lines = SimpleNamespace(images=12, seconds=5400.0), [{"loss": 2.0}, {"loss": 1.0, "rate": 3.0}]
    monkeypatch.setattr(state, "read_progress", lambda folder: seen)
    monkeypatch.setattr(state, "read_machine", lambda folder: {"device": folder.name})
    monkeypatch.setattr(provenance, "read_metrics", lambda folder: lines)
    told = {"images": 42, "hours": 2.5, "loss": 1.0, "machine": {"device": "base"}}
    assert provenance.history(run, "base", ("loss",)) == told
    seen.images, seen.seconds, lines = 0, 0.0, []
    assert provenance.history(run, "base", ("loss",)) == before


def test_time_is_foretold_from_the_middle_of_the_speeds_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    logged = [{"share": 0.4}, {"share": 0.1}, {}, {"share": 0.0}, {"share": 0.2}]
    cost: Any = SimpleNamespace(flops=3e9, parameters=7, memory=lambda plan: 2.5 * 2**30)
    monkeypatch.setattr(estimate, "read_metrics", lambda folder: logged if folder.name == "begun" else [])
    monkeypatch.setattr(estimate, "cost_of", lambda stage, device: cost)
    monkeypatch.setattr(estimate, "matrix_rate", lambda kind, device: 1e10)
    plan, build = Plan(images=8000, batch=8), SimpleNamespace
    stages: Any = [estimate.Stage(name, plan, build) for name in ("begun", "new")]
    found = list(estimate.estimates(stages, "cpu", NOWHERE))
    assert [(one.share, one.measured) for one in found] == [(0.2, True), (estimate.USUAL_SHARE, False)]
    assert [one.seconds for one in found] == pytest.approx([8000 * 0.3 / 0.2, 8000 * 0.3 / estimate.USUAL_SHARE])
    text = estimate.table(stages, {64: 10, 512: 4096}, "cpu", NOWHERE).splitlines()
    assert text[1].split() == ["begun", "7", "3", "8,000", "2.5", "GiB", "20%", "measured", "3.3", "h"]
    assert text[-1] == "disk: 3.0 GiB for 4,106 stored pictures" and "10 GFLOP/s here (cpu)" in text[-3]
    cost.flops = 2e12
    assert "2,000" in estimate.table(stages[:1], {}, "cpu").splitlines()[1].split()


def test_a_run_of_before_parts_were_noted_notes_them_and_keeps_what_it_says(tmp_path: Path) -> None:
    """Else, resumed without its checkpoint, it left out what that had brought."""
    write_json(tmp_path / START, {"checkpoint": "old", "images": 3})
    init: Any = SimpleNamespace(hash="new", provenance={"images": 5}, parts={"base": 0, "decoder": 1})
    note_start(tmp_path, init)
    noted = {"checkpoint": "old", "images": 3, "parts": ["base", "decoder"]}
    assert read_start(tmp_path) == noted
    init.parts = {}
    note_start(tmp_path, init)
    assert read_start(tmp_path) == noted


@pytest.mark.parametrize("signalled", [False, True])
def test_a_stage_that_one_rank_does_tells_whether_a_signal_or_the_time_stopped_it(signalled: bool) -> None:
    """On which the command's exit code hangs."""

    def step(name: str, stop: Stop) -> None:
        raise StoppedError(signalled)

    with pytest.raises(StoppedError) as stopped:
        staging._step("pictures", Stop(), step, Ranks(), alone=True)
    assert stopped.value.signalled == signalled


def test_a_stage_of_lora_goes_on_without_what_it_began_with(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(device="cpu", progress=False, path=tmp_path.joinpath)
    run.started = lambda stage: state.exists(tmp_path / stage)
    for images, weights in ((16, {"net": Toy().net.state_dict()}), (32, None)):
        run.plan = lambda stage, images=images: toy_plan(lora=4, images=images)
        run.brought = lambda task, weights=weights: weights
        staging.fit_stage(run, "toy", Toy, Stop())
    assert state.read_progress(tmp_path / "toy").images == 32
    with pytest.raises(UsageError, match="name some by --init-from"):
        staging.fit_stage(run, "new", Toy, Stop())

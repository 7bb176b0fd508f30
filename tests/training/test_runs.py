from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from pinxit.config import override, to_dict
from pinxit.errors import DataError, PinxitError, UsageError
from pinxit.training.plan import Plan
from pinxit.training.runs import FILE, STEERING, config_of, differences, enter


@dataclass(frozen=True)
class Inner:
    depth: int = 4


@dataclass(frozen=True)
class Config:
    model: Inner = field(default_factory=Inner)
    late: Inner = field(default_factory=Inner)
    plan: Plan = field(default_factory=lambda: Plan(images=100, batch=10))
    seed: int = 0


@dataclass(frozen=True)
class Plans:
    base: Plan = field(default_factory=lambda: Plan(images=100, batch=10))


@dataclass(frozen=True)
class Many:
    plans: Plans = field(default_factory=Plans)
    seed: int = 4


@dataclass(frozen=True)
class Layer:
    name: str
    depth: int = 4


@dataclass(frozen=True)
class Stack:
    layers: tuple[Layer, ...] = (Layer("low"), Layer("high", 5))
    sizes: tuple[int, ...] = (1, 2)

    @staticmethod
    def migrated(data: dict[str, Any]) -> dict[str, Any]:
        found = dict(data)
        return found | {"layers": [{"name": "low", "depth": found.pop("depth")}]} if "depth" in found else found


def start(folder: Path, config: Config, late_used: bool = False) -> None:
    enter(folder, "toy", config, {"model": lambda: True, "plan": lambda: True, "late": lambda: late_used})


def test_same_config_goes_on(tmp_path: Path) -> None:
    start(tmp_path, Config())
    before = (tmp_path / FILE).stat().st_mtime_ns
    start(tmp_path, Config())
    assert (tmp_path / FILE).stat().st_mtime_ns == before
    assert config_of(tmp_path, "toy", Config) == Config()


def test_changes_are_refused_once_used(tmp_path: Path) -> None:
    start(tmp_path, Config())
    with pytest.raises(UsageError, match=r"started with model.depth=4, not 6; keep the old value"):
        start(tmp_path, Config(model=Inner(6)))
    start(tmp_path, Config(late=Inner(6)))
    with pytest.raises(UsageError, match=r"late.depth=6, not 4"):
        start(tmp_path, Config(), late_used=True)


def test_plans_grow_but_do_not_shrink(tmp_path: Path) -> None:
    start(tmp_path, Config())
    longer = Config(plan=Plan(images=200, batch=10, log_every=50))
    start(tmp_path, longer)
    assert config_of(tmp_path, "toy", Config) == longer
    with pytest.raises(UsageError, match=r"images=200, not 100 .a plan can be lengthened"):
        start(tmp_path, Config())
    with pytest.raises(UsageError, match=r"plan.lr=0.001, not 0.1"):
        start(tmp_path, replace(longer, plan=replace(longer.plan, lr=0.1)))


def test_what_a_result_does_not_depend_on_may_always_change(tmp_path: Path) -> None:
    start(tmp_path, Config())
    changes = {"micro": 5, "compile": "no", "shard": True, "recompute": True, "log_every": 7, "preview_every": 9}
    assert {"images", "save_minutes", *changes} == set(STEERING)
    for name, value in (changes | {"save_minutes": 1.0, "images": 101}).items():
        start(tmp_path, override(config_of(tmp_path, "toy", Config), [f"plan.{name}={json.dumps(value)}"]))
    for name in {one.name for one in fields(Plan)} - set(STEERING):
        other: Any = {"optimiser": "muon", "schedule": "linear", "precision": "fp32", "betas": [0.5, 0.5], "eps": 1e-5}
        other |= {"channels_last": True, "batch": 20, "lora": 4, "warmup": 1, "ema_every": 2, "decay_horizon": 1}
        with pytest.raises(UsageError, match=rf"started with plan\.{name}=.*; keep the old value"):
            changed = override(config_of(tmp_path, "toy", Config), [f"plan.{name}={json.dumps(other.get(name, 0.5))}"])
            start(tmp_path, changed)


def test_strange_folders(tmp_path: Path) -> None:
    start(tmp_path, Config())
    with pytest.raises(DataError, match="holds a run of toy, not of other"):
        enter(tmp_path, "other", Config(), {})
    (tmp_path / FILE).write_text("{")
    with pytest.raises(DataError, match="is not readable JSON"):
        start(tmp_path, Config())
    (tmp_path / "file").write_text("")
    with pytest.raises(PinxitError, match="cannot write"):
        start(tmp_path / "file" / "run", Config())


@pytest.mark.parametrize(("own", "found"), [({}, 7), ({"seed": 2}, 2)], ids=["the judge", "others"])
def test_seeds_of_old_plans(tmp_path: Path, own: dict[str, int], found: int) -> None:
    """The judge's seed stood in its plan; every other recipe had one of its own beside a plan's that did nothing."""
    start(tmp_path, Config())
    run = json.loads((tmp_path / FILE).read_text())
    run["config"].pop("seed")
    run["config"]["plan"]["seed"] = 7
    (tmp_path / FILE).write_text(json.dumps(run | {"config": run["config"] | own}))
    opened = config_of(tmp_path, "toy", Config)
    assert opened == Config(seed=found)
    start(tmp_path, opened)


def test_seeds_of_old_plans_side_by_side(tmp_path: Path) -> None:
    """A run of many stages opens and goes on."""
    enter(tmp_path, "toy", Many(), {"plans": lambda: True})
    run = json.loads((tmp_path / FILE).read_text())
    run["config"]["plans"]["base"]["seed"] = 0
    (tmp_path / FILE).write_text(json.dumps(run))
    enter(tmp_path, "toy", Many(), {"plans": lambda: True})
    assert config_of(tmp_path, "toy", Many) == Many()


def test_differences_name_every_leaf() -> None:
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 2, "d": 4}, "e": 5}
    assert list(differences(old, new)) == [("a", 1, None), ("b.d", 3, 4), ("e", None, 5)]


def test_sections_in_a_list_go_by_their_names(tmp_path: Path) -> None:
    """One is settled, the other may change still; one may come and go."""
    used = {"layers.low": lambda: True}
    enter(tmp_path, "toy", Stack(), used)
    enter(tmp_path, "toy", override(Stack(), ["layers.high.depth=6"]), used)
    with pytest.raises(UsageError, match=r"started with layers\.low\.depth=4, not 6"):
        enter(tmp_path, "toy", override(Stack(), ["layers.low.depth=6", "layers.high.depth=6"]), used)
    more = override(Stack(), ['layers.top={"depth": 9}', "layers.low=null", "sizes=[3]"])
    assert more == Stack((Layer("high", 5), Layer("top", 9)), (3,))
    told = {name: (before, now) for name, before, now in differences(to_dict(Stack()), to_dict(more))}
    assert told.keys() == {"layers.low", "layers.top", "sizes"} and told["layers.top"] == (
        None,
        to_dict(Layer("top", 9)),
    )
    for change, why in (
        ("layers.mid.depth=1", "no section 'mid'"),
        ("layers.low.width=1", "no field 'width'; choose from name, depth"),
        ("layers.low=3", "'low' is a section"),
        ("sizes.low=3", "no section 'sizes'"),
    ):
        with pytest.raises(UsageError, match=why):
            override(Stack(), [change])


def test_an_older_versions_json_is_migrated(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"recipe": "toy", "config": {"depth": 7}}))
    assert config_of(tmp_path, "toy", Stack) == Stack((Layer("low", 7),))
    enter(tmp_path, "toy", Stack((Layer("low", 7),)), {"layers": lambda: True})  # nothing has changed

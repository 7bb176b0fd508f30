from __future__ import annotations

from pathlib import Path

from tests.cli.helpers import Cli
from tests.recipes.painters import save_random_checkpoint


def test_recipes_are_listed_and_their_graphs_printed(cli: Cli, tmp_path: Path) -> None:
    listed = cli("recipes")
    assert listed.code == 0 and listed.out.splitlines() == ["dalle: tiny", "imagen: imagen-tiny"]
    save_random_checkpoint(tmp_path / "nano")
    printed = cli("recipes", "--graph", tmp_path / "nano")
    assert printed.code == 0, printed.err
    assert printed.out.splitlines()[0] == "paint: text -> tokens -> pixels -> embed -> rank"
    assert "shown by pixels" in printed.out and "waits for all that live" in printed.out


def test_no_such_graph(cli: Cli) -> None:
    done = cli("recipes", "--graph", "no-such-checkpoint")
    assert done.code == 1 and "no-such-checkpoint" in done.err

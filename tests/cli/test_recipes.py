from __future__ import annotations

from pathlib import Path

import pytest

from pinxit.api import load
from pinxit.cli.painter_settings import resolve_settings, settings_of
from pinxit.recipes.capabilities import upsampler_of
from pinxit.weights.zoo import shipped
from tests.cli.helpers import Cli
from tests.recipes.painters import save_random_checkpoint


def test_recipes_are_listed_and_their_graphs_printed(cli: Cli, tmp_path: Path) -> None:
    listed = cli("recipes")
    assert listed.code == 0 and listed.out.splitlines()[:2] == [
        "dalle: tiny (paint, complete)",
        "imagen: imagen-tiny (paint, enlarge)",
    ]
    here = "unclip-tiny" if "unclip-tiny" in shipped() else "none installed"
    assert listed.out.splitlines()[2] == f"unclip: {here} (paint, enlarge, edit, vary, blend, shift, reconstruct)"
    assert listed.out.splitlines()[3:] == [
        "deepfloyd: your folder in diffusers' layout (paint, enlarge)",
        "karlo: your folder in diffusers' layout (paint, enlarge, vary, blend, shift, reconstruct)",
    ]
    save_random_checkpoint(tmp_path / "nano")
    printed = cli("recipes", "--graph", tmp_path / "nano")
    assert printed.code == 0, printed.err
    assert printed.out.splitlines()[0] == "paint: text -> tokens -> pixels -> embed -> rank"
    assert "shown by pixels" in printed.out and "waits for all that live" in printed.out


def test_an_unclips_graph_and_settings(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.recipes.unclips import save_random_unclip

    folder = save_random_unclip(tmp_path / "nano")
    printed = cli("recipes", "--graph", folder)
    assert printed.code == 0, printed.err
    assert {"paint: text -> prior -> decoder -> embed -> rank", "invert: invert"} <= set(printed.out.splitlines())
    settings = cli("recipes", "--settings", folder).out.splitlines()
    assert {"prior=prior", "text=true", "tries=2", "upsampler_steps=2"} <= set(settings)
    painter = load(folder, device="cpu")
    assert resolve_settings(settings_of(settings), painter, upsampler_of(painter)) == painter.defaults


def test_no_such_graph(cli: Cli) -> None:
    done = cli("recipes", "--graph", "no-such-checkpoint")
    assert done.code == 1 and "no-such-checkpoint" in done.err

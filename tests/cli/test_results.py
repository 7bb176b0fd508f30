"""Which files each command that paints leaves: programs find them by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.option_rows import COMMANDS
from tests.cli.test_options import furnish, invoke


def numbered(count: int) -> list[str]:
    return [f"{place:02d}.png" for place in range(1, count + 1)]


FILES = {
    "paint": ["01-seed0-candidate1.png", "02-seed0-candidate0.png"],
    "paint --compare": [f"0{3 * (1 - k) + n}-dalle-seed0-candidate{k}.png" for k in (1, 0) for n in (1, 2, 3)],
    "complete": ["01-seed0-candidate1.png", "02-seed0-candidate0.png"],
    "edit": ["01-seed0-candidate1.png", "02-seed0-candidate0.png"],
    "vary": numbered(4),
    "blend": numbered(8),
    "shift": numbered(5),
    "reconstruct": numbered(1),
}


@pytest.mark.parametrize("command", FILES)
def test_files_by_name(command: str, tmp_path: Path) -> None:
    furnish(tmp_path / "in")
    _, done = invoke(tmp_path / "in", (*command.split(), *COMMANDS[command.split()[0]].usual, "--out", "out"))
    assert done.exception is None
    assert sorted(path.name for path in (tmp_path / "in").glob("out/*/*")) == [*FILES[command], "sheet.png"]

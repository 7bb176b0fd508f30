"""Every command that writes, given twice at once into one place.

What stays must be what one run leaves, and nothing is lost: the second ends well, or is refused by one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.killed import begun, child, damaged, left_in
from tests.killed_commands import Command


def twice(commands: Mapping[str, Command], folder: Path) -> Iterator[dict[str, Any]]:
    """What came of each command."""
    for name, command in commands.items():
        alone, out = folder / "alone" / name, folder / "twice" / name
        usual = child(command, alone)
        assert usual.code == 0, f"{name}: {usual}"
        both = [begun(command, out) for _ in range(2)]
        endings = [ending() for _, ending in both]
        expected, found = left_in(alone), left_in(out)
        differs = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        told = {"command": name, "codes": sorted(one.code for one in endings), "told": [one.told for one in endings]}
        yield told | {"broken": damaged(out), "differs": differs}

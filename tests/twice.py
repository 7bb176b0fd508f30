"""Every command that writes, given twice at once into one place: `python -m tests.twice FOLDER [NAMES]`.

What stays must be what one run leaves, and nothing is lost: the second ends well, or is refused by one sentence.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.killed import begun, child, damaged, import_all, left_in
from tests.killed_commands import NAMES, prepared


def main() -> None:
    folder = Path(sys.argv[1])
    import_all()
    names = sys.argv[2].split(",") if len(sys.argv) > 2 else NAMES
    commands = prepared(folder / "given", names)
    for name in names:
        alone, out = folder / "alone" / name, folder / "twice" / name
        usual = child(commands[name], alone)
        assert usual.code == 0, f"{name}: {usual}"
        both = [begun(commands[name], out) for _ in range(2)]
        endings = [ending() for _, ending in both]
        expected, found = left_in(alone), left_in(out)
        differs = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        told = {"command": name, "codes": sorted(one.code for one in endings), "told": [one.told for one in endings]}
        print(json.dumps(told | {"broken": damaged(out), "differs": differs}), flush=True)


if __name__ == "__main__":
    main()

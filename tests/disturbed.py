"""Commands killed or out of disk (`tests.killed`) and given twice (`tests.twice`), in one process that imports once.

    python -m tests.disturbed FOLDER MOMENTS KILLED TWICE

KILLED take turns in so many MOMENTS; both are names of commands with commas between, or empty. Prints a JSON line for
each moment, then for each that was given twice.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.killed import disturbed, import_all
from tests.killed_commands import prepared
from tests.twice import twice


def main() -> None:
    folder, moments = Path(sys.argv[1]), int(sys.argv[2])
    killed, given_twice = ([name for name in names.split(",") if name] for names in sys.argv[3:])
    import_all()
    commands = prepared(folder / "given", {*killed, *given_twice})
    for told in disturbed({name: commands[name] for name in killed}, folder, moments, seed=0):
        print(json.dumps(told), flush=True)
    for told in twice({name: commands[name] for name in given_twice}, folder):
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()

"""How many unseen scenes could a linear probe read at all? Those whose coloured things its training scenes show.

    python -m scripts.probe_ceiling gallery --train 6000 --test 800

`unseen` holds combinations out of training, and a probe for a coloured thing that it never met says no.
"""

from __future__ import annotations

import argparse

from pinxit.world.vocabulary import PRESETS
from pinxit.world.world import World


def things(world: World, index: int) -> set[tuple[str, str]]:
    """Names and colours of what scene `index` shows."""
    return {(item.name, item.colour or "") for item in world.scene(index).items}


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--test", type=int, default=800)
    asked = parser.parse_args()
    train, unseen = World(asked.preset, "train"), World(asked.preset, "unseen")
    known = set().union(*(things(train, index) for index in range(asked.train)))
    within = sum(things(unseen, index) <= known for index in range(asked.test))
    print(f"{within / asked.test:.2f} of {asked.test} unseen scenes hold only coloured things of {asked.train} others")


if __name__ == "__main__":
    main()

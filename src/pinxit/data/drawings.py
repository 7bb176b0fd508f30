"""A classification dataset, one object a picture, to test whether a model knows objects or only drawings of them.

Every labelled object is drawn by all of the pack's artists. Training pictures are by some of them; split "seen" has new
pictures of the same drawings, "unseen" has the same objects drawn by the other artists. Preset "broad" trains on more
than its labels: every second picture shows another object of the pack, by any artist.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pinxit.data.labels import Labelled
from pinxit.errors import UsageError
from pinxit.types import Example
from pinxit.world.dice import Dice
from pinxit.world.draw import render
from pinxit.world.english import article
from pinxit.world.pack import Pack, Preset, Thing
from pinxit.world.scene import Item, Scene
from pinxit.world.vocabulary import COLOURS, COLOURS_ZH

KNOWN, OTHERS = ("noto", "noto classic"), ("fluent flat", "fluent 3d")
ARTISTS = {"train": KNOWN, "seen": KNOWN, "unseen": OTHERS}
LABELLED: dict[str, Preset] = {"small": "small", "full": "full", "broad": "small"}
"""For each preset, the preset of the pack whose things are its labels."""
LENGTH = 2**31
GRID = 64  # boxes are placed in steps of 1/64 of the side


@dataclass(frozen=True)
class Drawings:
    """Pictures with a label and captions in English and Chinese; item i is a pure function of the fields and i.

    Raises UsageError for a preset or split that does not exist.
    """

    preset: str = "full"
    split: str = "train"
    size: int = 64
    seed: int = 0
    length: int = LENGTH

    def __post_init__(self) -> None:
        if self.split not in ARTISTS:
            raise UsageError(f"drawings have no split '{self.split}'; choose from {', '.join(ARTISTS)}.")
        if self.preset not in LABELLED:
            raise UsageError(f"there are no drawings '{self.preset}'; choose from {', '.join(LABELLED)}.")

    @cached_property
    def _things(self) -> tuple[Thing, ...]:
        pack, expected = Pack.open(), {*KNOWN, *OTHERS}
        every = (pack.things[name] for name in pack.names(LABELLED[self.preset]))
        return tuple(thing for thing in every if expected <= set(thing.artists))

    @cached_property
    def _besides(self) -> tuple[Thing, ...]:
        """The things without labels that training with preset "broad" shows too."""
        if self.preset != "broad" or self.split != "train":
            return ()
        every, known = Pack.open().things.values(), set(Pack.open().names("small"))
        return tuple(thing for thing in every if thing.name not in known)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labelled things."""
        return tuple(thing.name for thing in self._things)

    @property
    def templates(self) -> tuple[str, ...]:
        """The two plainest captions."""
        return ("a {}", "a picture of a {}")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        """Item `index`; consecutive items show different things. Raises IndexError outside 0 .. len - 1."""
        if not 0 <= index < self.length:
            raise IndexError(f"item {index} of {self.length} drawings.")
        scene, thing = self._scene(index), self._thing(index)
        key = f"drawing-{self.preset}-{self.split}-{self.seed}-{index:010d}"
        return Example(render(scene, self.size), captions(thing, scene.place), key, Labelled(thing.name))

    def _thing(self, index: int) -> Thing:
        if not self._besides:
            return self._things[index % len(self._things)]
        half, beside = divmod(index, 2)
        return self._besides[half % len(self._besides)] if beside else self._things[half % len(self._things)]

    def _scene(self, index: int) -> Scene:
        dice = Dice("drawings", self.preset, self.split, self.seed, index)
        thing = self._thing(index)
        artist = dice.pick(thing.artists if thing in self._besides else ARTISTS[self.split])
        return Scene("drawing", (self._item(thing, artist, dice),), place=dice.pick(COLOURS), noise=index)

    def _item(self, thing: Thing, artist: str, dice: Dice) -> Item:
        aspect = Pack.open().aspect(thing.name, artist)
        longest = 0.4 + 0.5 * dice.unit()
        sides = [max(1, round(GRID * longest * share)) for share in (min(1, aspect), min(1, 1 / aspect))]
        left, top = (int(dice.unit() * (GRID - side + 1)) for side in sides)
        box = (left / GRID, top / GRID, (left + sides[0]) / GRID, (top + sides[1]) / GRID)
        return Item(thing.name, "sprite", box, artist=artist, flip=dice.chance(0.5))


def captions(thing: Thing, ground: str) -> tuple[str, ...]:
    """The captions of a drawing, the plainest first; `ground`: the colour of the background."""
    a = f"{thing.article} {thing.name}"
    zh = f"一{thing.zh_measure}{thing.zh}"
    return (a, f"{a} on {article(ground)} background", f"a picture of {a}", zh, f"{COLOURS_ZH[ground]}背景上的{zh}")

"""The words of the world: what can be in a picture, and what it is called in English and Chinese.

Names are the keys that an `Item` carries; a `Noun` has the words for captions. The words for sprites come with the
`Pack`; those for everything that is drawn in code are here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from pinxit.errors import UsageError
from pinxit.world.pack import Pack
from pinxit.world.scene import Kind
from pinxit.world.thesaurus import FURTHER, USUAL
from pinxit.world.thesaurus_zh import FURTHER_ZH

PresetName = Literal["small", "gallery", "full"]
Names = Literal["usual", "many"]
SYNONYM: dict[Names, float] = {"usual": 0.2, "many": 0.6}
PRESETS: tuple[PresetName, ...] = ("small", "gallery", "full")


@dataclass(frozen=True, slots=True)
class Noun:
    """The words for one thing."""

    name: str
    kind: Kind
    plural: str
    article: str  # "a", "an", or "a pair of"
    zh: str
    measure: str  # the Chinese measure word: 只 for a penguin, 辆 for a car
    synonyms: tuple[str, ...] = ()  # true English names besides `name`; their plural is regular
    zh_synonyms: tuple[str, ...] = ()  # true Chinese names besides `zh`
    artists: tuple[str, ...] = ()  # sprites only: whose drawings there are
    groups: tuple[str, ...] = ()  # sprites only: "animal", "fruit", ...


COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "gray", "white")
COLOURS_ZH = dict(
    zip(COLOURS, ("红色", "橙色", "黄色", "绿色", "蓝色", "紫色", "粉色", "棕色", "黑色", "灰色", "白色"), strict=True)
)

SHAPES = (
    Noun("circle", "shape", "circles", "a", "圆形", "个", ("disc",)),
    Noun("square", "shape", "squares", "a", "正方形", "个"),
    Noun("triangle", "shape", "triangles", "a", "三角形", "个"),
    Noun("star", "shape", "stars", "a", "星形", "个"),
    Noun("heart", "shape", "hearts", "a", "心形", "个"),
    Noun("pentagon", "shape", "pentagons", "a", "五边形", "个"),
    Noun("hexagon", "shape", "hexagons", "a", "六边形", "个"),
    Noun("ring", "shape", "rings", "a", "圆环", "个"),
)
SOLIDS = (
    Noun("cube", "solid", "cubes", "a", "立方体", "个", ("block",)),
    Noun("sphere", "solid", "spheres", "a", "球体", "个", ("ball",)),
    Noun("cylinder", "solid", "cylinders", "a", "圆柱体", "个"),
    Noun("cone", "solid", "cones", "a", "圆锥体", "个"),
)
MADE = (
    Noun("clock", "made", "clocks", "a", "时钟", "个"),
    Noun("flower pot", "made", "flower pots", "a", "花盆", "个"),
    Noun("lamp", "made", "lamps", "a", "台灯", "盏"),
    Noun("plate", "made", "plates", "a", "盘子", "个"),
    Noun("sign", "made", "signs", "a", "牌子", "块"),
    Noun("armchair", "made", "armchairs", "an", "扶手椅", "把"),
    Noun("storefront", "made", "storefronts", "a", "店面", "家", ("shop front",)),
)
MADE_OF = {  # made things that come in any form
    "small": ("clock", "flower pot", "lamp"),
    "gallery": ("clock", "flower pot", "lamp", "plate", "sign", "armchair"),
    "full": ("clock", "flower pot", "lamp", "plate", "sign", "armchair"),
}
# The sprites of `gallery` besides those of `small`: what the famous sentences speak of, and what else can wear, ride,
# be drunk, be cut open or be played.
GALLERY = (
    *("dog", "fox", "rabbit", "panda", "horse", "unicorn", "capybara", "pig", "teddy bear", "owl"),
    *("astronaut", "person", "snowman", "radish", "walnut", "apple", "kiwi", "lemon", "harp", "violin"),
    *("cup of coffee", "cup of tea", "glass of milk", "telephone", "book"),
)

# The free outline of a made thing: how English says it before the noun, and Chinese.
FORMS = ("circle", "square", "triangle", "star", "heart", "pentagon", "hexagon")
FORM_ADJECTIVE = dict(
    zip(FORMS, ("round", "square", "triangular", "star-shaped", "heart-shaped", "pentagonal", "hexagonal"), strict=True)
)
FORM_ZH = dict(zip(FORMS, ("圆形", "方形", "三角形", "星形", "心形", "五边形", "六边形"), strict=True))

# Places that are more than a plain ground: English, Chinese, the colours that would not be seen there.
PLACES = {
    "meadow": ("in a meadow", "在草地上", ("green",)),
    "beach": ("on a beach", "在沙滩上", ("yellow", "orange", "brown")),
    "snow": ("in the snow", "在雪地里", ("white", "gray")),
    "night sky": ("under the night sky", "在夜空下", ("black", "blue", "purple", "brown")),
    "mountains": ("in the mountains", "在山里", ("gray",)),
    "desert": ("in the desert", "在沙漠里", ("yellow", "orange", "brown")),
    "room": ("in a room", "在房间里", ("brown",)),
    "snowy forest": ("in a snowy forest", "在下雪的森林里", ("white", "gray")),
}
HORIZON = frozenset(PLACES) - {"night sky"}  # places with ground to stand on
PLACES_OF = {"small": ("meadow", "beach", "snow", "night sky"), "gallery": tuple(PLACES), "full": tuple(PLACES)}

COUNTS = {
    1: ("one", "一"),
    2: ("two", "两"),
    3: ("three", "三"),
    4: ("four", "四"),
    5: ("five", "五"),
    6: ("six", "六"),
}

MOST: dict[str, int] = {"small": 4, "gallery": 4, "full": 6}  # most copies of one thing in a picture

STYLES = (
    "pencil sketch",
    "watercolour",
    "pixel art",
    "silhouette",
    "blueprint",
    "neon",
    "old photograph",
    "folded from paper",
)
STYLES_OF = {"small": ("pencil sketch",), "gallery": STYLES, "full": STYLES}
LIGHTS = ("sunrise", "rain", "snowfall")
VIEWS = ("close-up", "from afar", "upside down", "fisheye", "cross-section")


def _pairs(text: str) -> frozenset[tuple[str, str]]:
    one_way = [tuple(pair.split("/")) for pair in text.split()]
    return frozenset((a, b) for pair in one_way for a, b in (pair, pair[::-1]))


# Colours that an eye (or a judge) may confuse: never two objects of one picture that differ in colour.
CONFUSABLE = _pairs(
    "blue/purple purple/pink red/orange red/pink red/brown orange/pink orange/yellow orange/brown "
    "brown/black gray/white gray/black"
)
# Colours in which an object would be lost on a plain ground of the other (white lies well off gray, yellow off white).
LOST = _pairs(
    "blue/purple purple/pink red/orange red/pink red/brown red/purple orange/pink orange/yellow orange/brown "
    "brown/black purple/black blue/black purple/brown"
)


def apart(one: str, other: str) -> bool:
    """Whether two objects in these colours can be distinguished without doubt."""
    return one != other and (one, other) not in CONFUSABLE


def stands_out(colour: str, place: str) -> bool:
    """Whether an object of this colour is clearly seen against this ground."""
    if place in PLACES:
        return colour not in PLACES[place][2]
    return colour != place and (colour, place) not in LOST


@dataclass(frozen=True, slots=True, eq=False)  # one a preset and kind of names, compared by identity
class Lexicon:
    """The names one preset may use, and the words for them."""

    preset: PresetName
    nouns: dict[str, Noun]
    sprites: tuple[str, ...]
    shapes: tuple[str, ...]
    solids: tuple[str, ...]
    made: tuple[str, ...]
    places: tuple[str, ...]
    styles: tuple[str, ...]
    synonym: float  # share of the phrases that use a synonym


@lru_cache(maxsize=2 * len(PRESETS))
def lexicon(preset: str, names: Names = "usual") -> Lexicon:
    """The vocabulary of a preset, with the usual names of its things or many (`thesaurus.py`).

    Raises UsageError for another preset.
    """
    if preset not in PRESETS:
        raise UsageError(f"there is no world called '{preset}'; choose {', '.join(PRESETS[:-1])} or {PRESETS[-1]}.")
    chosen: PresetName = preset
    drawn = [n for n in (*SHAPES, *SOLIDS, *MADE) if n.kind != "made" or chosen != "small" or n.name in MADE_OF[chosen]]
    nouns = {noun.name: noun for noun in drawn}
    sprites = tuple(name for name in _sprites(chosen) if name not in nouns)
    nouns |= {name: _sprite(name) for name in sprites}
    if chosen != "small":
        nouns = {name: _with_usual(noun) for name, noun in nouns.items()}
    if names == "many":
        nouns = {name: replace(n, synonyms=(*n.synonyms, *FURTHER.get(name, ()))) for name, n in nouns.items()}
    return Lexicon(
        preset=chosen,
        nouns=_without_clashing_synonyms(nouns),
        sprites=sprites,
        shapes=tuple(n.name for n in SHAPES),
        solids=tuple(n.name for n in SOLIDS),
        made=MADE_OF[chosen],
        places=PLACES_OF[chosen],
        styles=STYLES_OF[chosen],
        synonym=SYNONYM[names],
    )


def _sprites(preset: PresetName) -> tuple[str, ...]:
    if preset == "gallery":
        return (*Pack.open().names("small"), *GALLERY)
    return Pack.open().names(preset)


def _sprite(name: str) -> Noun:
    thing = Pack.open().things[name]
    return Noun(
        name=name,
        kind="sprite",
        plural=thing.plural,
        article=thing.article,
        zh=thing.zh,
        measure=thing.zh_measure,
        synonyms=tuple(thing.synonyms),
        artists=tuple(thing.artists),
        groups=tuple(thing.group),
    )


def _with_usual(noun: Noun) -> Noun:
    """The noun with the usual synonyms of the worlds beyond `small`."""
    return replace(
        noun,
        synonyms=USUAL.get(noun.name, noun.synonyms),
        zh_synonyms=FURTHER_ZH.get(noun.name, ()),
    )


def _without_clashing_synonyms(nouns: dict[str, Noun]) -> dict[str, Noun]:
    """Drop synonyms that could also mean another thing of the vocabulary: they would make captions ambiguous."""
    said: dict[str, int] = {}
    for noun in nouns.values():
        for word in {noun.name, *noun.synonyms} | {noun.zh, *noun.zh_synonyms}:
            said[word] = said.get(word, 0) + 1
    return {
        name: replace(
            noun,
            synonyms=tuple(s for s in noun.synonyms if said[s] == 1),
            zh_synonyms=tuple(s for s in noun.zh_synonyms if said[s] == 1),
        )
        for name, noun in nouns.items()
    }

"""Which things can take which role: carry another, be ridden, wear clothes; and the words a sign may have."""

from __future__ import annotations

from functools import cache

from pinxit.world.vocabulary import Lexicon

# Things flat or broad enough on top that another may stand there.
CARRIERS = (
    *("cube", "cylinder", "square", "sphere", "circle", "car", "turtle", "elephant", "mushroom"),
    *("bus", "van", "truck", "cardboard box", "treasure chest", "suitcase", "book", "television"),
    *("drum", "log", "gift", "toolbox", "hippopotamus", "loaf of bread", "wedge of cheese"),
)
# How far below its upper edge a solid is stood on, as a share of its height: the middle of its top face.
SINK = {"cube": 0.15, "cylinder": 0.13, "sphere": 0.03}

CONTAINERS = ("circle", "square", "hexagon")
RIDDEN = (
    *("horse", "donkey", "zebra", "cow", "bull", "camel", "elephant", "pig", "tiger", "leopard", "bison", "turtle"),
    *("sheep", "goat", "rhinoceros", "hippopotamus", "deer", "llama", "mammoth", "bicycle", "motorcycle"),
    *("capybara", "unicorn", "snail", "crab", "astronaut", "person", "robot", "panda", "teddy bear"),
)
RIDERS = (
    *("astronaut", "cat", "monkey", "teddy bear", "penguin", "chick", "owl", "rabbit", "mouse", "squirrel", "robot"),
    *("chef", "wizard", "superhero", "detective", "pilot", "painter", "scientist", "ghost", "snowman"),
    *("fox", "dog", "panda", "person", "pig", "horse", "elephant", "capybara", "carrot", "radish", "avocado", "banana"),
)
DRESSED = (
    *("penguin", "teddy bear", "owl", "chick", "snowman", "dodo", "parrot"),
    *("orangutan", "duck", "panda", "person", "astronaut"),
)

PLANTS = ("carrot", "radish", "avocado", "banana", "strawberry", "pineapple", "mushroom", "cactus")
# What a sprite can be made of, and whose body is broad enough to show it ("a snail made of a harp").
BODIES = (
    *("snail", "turtle", "elephant", "pig", "fish", "penguin"),
    *("owl", "teddy bear", "crab", "capybara", "car", "house"),
)
MATERIALS = (
    *("harp", "violin", "guitar", "book", "telephone", "apple"),
    *("lemon", "kiwi", "strawberry", "sunflower", "avocado"),
)
# Who can wear a tutu; plants have no legs for trousers and boots, and no hands for gloves.
TUTU = ("penguin", "panda", "teddy bear", "owl", "person", "astronaut", "snowman", *PLANTS)
_ON_PLANTS = ("hat", "tutu")
# Those on whom only a hat looks right: they go on all fours, or are nothing but a head.
HATTED = ("robot", "rabbit", "cat", "fox", "dog")

# Whether English says it with an article, its name in Chinese, and the verb that Chinese wears it with.
GARMENTS: dict[str, tuple[bool, str, str]] = {
    "hat": (True, "帽子", "戴着"),
    "scarf": (True, "围巾", "戴着"),
    "gloves": (False, "手套", "戴着"),
    "shirt": (True, "衬衫", "穿着"),
    "trousers": (False, "裤子", "穿着"),
    "tutu": (True, "芭蕾舞裙", "穿着"),
    "boots": (False, "靴子", "穿着"),
}
WRITTEN = ("sign", "storefront")
_SHAPELY = frozenset({"fruit", "vegetable", "animal", "flower"})
_SIGN_WORDS = """
OPEN EXIT STOP HELLO BYE YES NO SALE FREE NEW HOT COLD ICE TEA SHOP CAFE BAKERY BREAD MILK FISH FRUIT PIZZA
BOOKS TOYS HATS SHOES ART MUSIC DANCE GAMES HOTEL BANK POST PARK BEACH LAKE HILL FARM ZOO BUS TAXI TRAIN NORTH
SOUTH EAST WEST LEFT RIGHT UP DOWN HOME WORK PLAY LOVE PEACE HOPE JOY LUCK HAPPY SMILE THANKS PLEASE
QUIET SLOW FAST DOGS CATS BIRDS ROSES TULIPS SUMMER WINTER SPRING MAGIC DREAM SUN MOON STAR SKY RAIN SNOW WIND
ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN PAINT PINXIT OPENAI
"""
# What can be cut open ("a cross-section of a lemon"; kiwis and avocados are drawn open as it is), drunk, and led on a
# leash; who leads, drinks and prepares drinks.
CUT_OPEN = ("carrot", "banana", "strawberry", "pineapple", "mushroom", "radish", "walnut", "apple", "lemon")
DRINKS = ("cup of coffee", "cup of tea", "glass of milk")
LED = ("dog", "cat", "pig", "rabbit", "fox", "turtle", "penguin", "snail", "horse", "elephant", "capybara", "crab")
_FIGURES = ("penguin", "panda", "teddy bear", "owl", "astronaut", "person", "snowman", "robot", "rabbit", "cat", "fox")
LEADERS = (*_FIGURES, *PLANTS)
DRINKERS = (*_FIGURES, *PLANTS, "dog", "pig", "capybara", "elephant", "giraffe", "flamingo", "horse")
MAKERS = _FIGURES
SIGN_WORDS = tuple(_SIGN_WORDS.split())  # at most six letters: more cannot be read at 64 pixels


def wearers() -> tuple[str, ...]:
    """Everything that can wear something."""
    return (*DRESSED, *(name for name in TUTU if name not in DRESSED), *HATTED)


def wardrobe(name: str) -> tuple[str, ...]:
    """The garments that this thing can wear."""
    if name in PLANTS:
        return _ON_PLANTS
    if name in HATTED:
        return ("hat",)
    return tuple(garment for garment in GARMENTS if garment != "tutu" or name in TUTU)


def carries(name: str, form: str | None = None) -> bool:
    """Whether something can stand on top of this."""
    return name in CARRIERS and form is None


def cast(role: tuple[str, ...], words: Lexicon) -> tuple[str, ...]:
    """The names of a role that are in the preset."""
    return tuple(name for name in role if name in words.nouns)


@cache
def shapely(words: Lexicon) -> tuple[str, ...]:
    """Things known by their outline, which a made thing may take."""
    return tuple(name for name in words.sprites if _SHAPELY.intersection(words.nouns[name].groups))

"""Further names of the world's things, for painters that are to understand names which no caption holds.

Captions of the usual world nearly always say the one name, and a network that reads them through a language model
learns 43 points of that model's space, not the regions around them. With these it learns that things have many names:
other words for the thing, kinds of it, the kind that it is of. None holds a word of `held_out_nouns.HELD_OUT_NOUNS`:
those stay for the exam.
"""

from __future__ import annotations

FURTHER: dict[str, tuple[str, ...]] = {
    "circle": ("disk", "round shape", "round spot", "dot"),
    "square": ("four-sided shape", "equal-sided rectangle", "tile", "quadrangle"),
    "triangle": ("three-sided shape", "three-cornered shape", "trigon"),
    "star": ("five-pointed star", "pentagram", "star shape"),
    "heart": ("love heart", "valentine heart", "heart shape", "valentine"),
    "pentagon": ("five-sided shape", "five-sided polygon", "five-cornered shape"),
    "hexagon": ("six-sided shape", "six-sided polygon", "six-cornered shape", "honeycomb cell"),
    "ring": ("circular band", "annulus", "loop", "circlet", "donut shape"),
    "cube": ("building block", "brick", "crate", "hexahedron", "cubic block", "carton"),
    "sphere": ("globe", "marble", "round ball", "bubble", "bead"),
    "cylinder": ("can", "pipe", "drum", "barrel", "canister", "pillar", "tin"),
    "cone": ("traffic cone", "party hat", "pointed solid", "tapered solid", "spike"),
    "clock": ("wall clock", "alarm clock", "watch", "chronometer", "clock face"),
    "flower pot": ("plant pot", "flowerpot", "potted plant", "pot", "garden pot", "vase"),
    "lamp": ("table lamp", "desk lamp", "reading lamp", "light", "bedside light", "night light"),
    "penguin": ("emperor penguin", "flightless bird", "antarctic bird", "king penguin"),
    "cat": ("kitten", "house cat", "pussycat", "tabby", "tomcat", "puss"),
    "elephant": ("african elephant", "indian elephant", "tusker", "jumbo", "trunked animal"),
    "giraffe": ("long-necked animal", "tall african animal", "camelopard"),
    "flamingo": ("wading bird", "long-legged bird", "wader", "tropical bird"),
    "snail": ("garden snail", "mollusc", "sea snail", "shelled creature", "escargot"),
    "fish": ("goldfish", "salmon", "tropical fish", "carp", "herring", "perch", "sardine"),
    "turtle": ("sea turtle", "shelled reptile", "land turtle", "reptile", "snapping turtle"),
    "butterfly": ("winged insect", "monarch butterfly", "flying insect", "insect"),
    "crab": ("shore crab", "shellfish", "hermit crab", "clawed sea creature", "king crab"),
    "avocado": ("avocado pear", "alligator pear", "halved avocado"),
    "carrot": ("root vegetable", "garden carrot", "vegetable"),
    "banana": ("plantain", "banana fruit"),
    "strawberry": ("garden strawberry", "soft fruit", "wild strawberry", "summer fruit"),
    "pineapple": ("ananas", "spiky fruit", "pineapple fruit"),
    "mushroom": ("fly agaric", "champignon", "button mushroom", "puffball", "wild mushroom"),
    "pine tree": ("spruce", "christmas tree", "pine", "fir", "larch", "cedar", "evergreen", "tree"),
    "sunflower": ("helianthus", "blossom", "flower", "bloom"),
    "cactus": ("saguaro", "desert plant", "prickly pear", "prickly plant", "spiny plant"),
    "car": ("motorcar", "vehicle", "hatchback", "motor vehicle", "limousine", "coupe"),
    "bicycle": ("pushbike", "cycle", "two-wheeler", "mountain bike", "racing bike"),
    "airplane": ("aircraft", "airliner", "passenger plane", "airbus", "flying machine"),
    "sailboat": ("sailing ship", "dinghy", "schooner", "sloop", "ship"),
    "house": ("home", "dwelling", "residence", "hut", "cabin", "bungalow", "building", "villa"),
    "chair": ("dining chair", "wooden chair", "stool", "kitchen chair", "desk chair"),
    "umbrella": ("brolly", "sunshade", "rain umbrella", "beach umbrella", "canopy"),
    "guitar": ("acoustic guitar", "string instrument", "bass guitar", "musical instrument"),
    "robot": ("droid", "automaton", "bot", "cyborg", "mechanical figure", "machine"),
    "dog": ("hound", "pooch", "doggy", "mutt", "terrier", "labrador"),
    "fox": ("red fox", "vixen", "fox cub", "wild fox", "reynard"),
    "rabbit": ("hare", "bunny rabbit", "wild rabbit", "long-eared animal"),
    "panda": ("giant panda", "black and white bear", "bamboo bear", "panda cub"),
    "horse": ("pony", "stallion", "mare", "steed", "foal"),
    "unicorn": ("horned horse", "mythical horse", "magical horse", "fairy-tale horse"),
    "capybara": ("giant rodent", "water hog", "large rodent", "capybara rodent", "carpincho"),
    "pig": ("piglet", "hog", "farm pig", "piggy", "sow"),
    "teddy bear": ("teddy", "stuffed bear", "toy bear", "plush bear", "cuddly bear"),
    "owl": ("barn owl", "night bird", "bird of prey", "tawny owl", "snowy owl"),
    "astronaut": ("spaceman", "cosmonaut", "space traveller", "spacewalker", "moonwalker"),
    "person": ("human", "human being", "human figure", "individual", "figure of a person"),
    "snowman": ("snow figure", "frosty snowman", "snow sculpture", "winter figure"),
    "radish": ("daikon", "white radish", "garden radish", "turnip", "daikon radish"),
    "walnut": ("nut", "english walnut", "walnut kernel", "whole walnut"),
    "apple": ("red apple", "orchard fruit", "ripe apple", "eating apple"),
    "kiwi": ("chinese gooseberry", "fuzzy fruit", "green kiwi fruit", "kiwi berry"),
    "lemon": ("citrus fruit", "sour fruit", "citrus", "yellow citrus fruit"),
    "harp": ("lyre", "concert harp", "plucked instrument", "celtic harp"),
    "violin": ("bowed instrument", "stringed instrument", "viola", "string fiddle"),
    "cup of coffee": ("mug of coffee", "espresso", "cappuccino", "hot coffee"),
    "cup of tea": ("mug of tea", "green tea", "cuppa", "hot tea", "herbal tea"),
    "glass of milk": ("cold milk", "tumbler of milk", "cup of milk", "fresh milk"),
    "telephone": ("landline", "phone set", "rotary phone", "desk phone", "telephone set"),
    "book": ("volume", "novel", "hardback", "textbook", "tome"),
    "plate": ("platter", "serving plate", "saucer", "porcelain plate"),
    "sign": ("notice", "placard", "notice board", "nameplate"),
    "armchair": ("easy chair", "upholstered chair", "comfy chair", "lounge chair"),
    "storefront": ("shop window", "shop facade", "store facade", "front of a shop", "boutique"),
}
"""By the thing's name in the vocabulary. Two things never share a name; a name that another preset's thing has is left
out there (`vocabulary.lexicon`)."""

USUAL: dict[str, tuple[str, ...]] = {
    "plate": ("dish",),
    "sign": ("signboard",),
    "storefront": ("shop front", "store front", "shop"),
    "cup of coffee": ("coffee", "latte"),  # nobody drinks a coffee cup
    "cup of tea": ("tea",),
    "glass of milk": ("milk",),
    "telephone": ("phone",),
}
"""What the captions of every world but `small` usually call a thing besides its name, instead of the pack's words."""

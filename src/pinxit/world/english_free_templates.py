"""The turns of phrase of the free-form English captions (`english_free.py`), each list with the usual one first.

{} is the sentence so far, {a}, {b} ... the noun phrases of the parts, {n} the first part without its article.
"""

from __future__ import annotations

from pinxit.world.scene import RelationName

PLACES: dict[str, tuple[str, ...]] = {
    "meadow": (
        *("in a meadow", "in a field", "in a field", "on the grass", "in a grassy field", "in a green meadow"),
        "in the grass",
    ),
    "beach": ("on a beach", "on the beach", "at the beach", "on the sand by the sea", "on a sandy beach"),
    "snow": ("in the snow", "on the snow", "in a snowy landscape", "in a snow-covered field", "on snowy ground"),
    "night sky": ("under the night sky", "at night", "under the stars", "under a starry sky", "beneath a starry sky"),
    "mountains": ("in the mountains", "in front of mountains", "with mountains behind", "in front of snowy mountains"),
    "desert": ("in the desert", "in a desert", "on desert sand", "among sand dunes", "in a sandy desert"),
    "room": ("in a room", "indoors", "inside a room", "in a room with a window", "on the floor of a room"),
    "snowy forest": (
        *("in a snowy forest", "in a forest in winter", "among snowy fir trees", "in a snow-covered forest"),
        "in the snowy woods",
    ),
}
# A plain ground: {} is its colour with an article, {c} the bare colour; after a comma what begins with one.
GROUNDS = (
    "on {} background",
    "on {} background",
    "on {} background",
    "against {} background",
    "with {} background",
    "in front of {} background",
    "on plain {c}",
    ", {c} background",
    ", the background is {c}",
)
INTRO_ONE = ("a picture of {}", "an image of {}", "there is {}", "this is {}", "a picture with {}", "you can see {}")
INTRO_MANY = ("a picture of {}", "an image of {}", "there are {}", "these are {}", "a picture with {}", "a group of {}")
INTRO_TWO = ("a picture of {}", "an image of {}", "there is {}", "a picture showing {}", "an image of {}")
INTRO_DEED = ("a picture of {}", "an image of {}", "a picture showing {}", "an image of {}")
PHOTO = ("a photo of {}", "a photograph of {}")

AND = ("{a} and {b}", "{b} and {a}", "{a} together with {b}", "{a} and {b} together", "{a} next to {b}")
AND_ABOVE = AND[:-1]  # next to each other are those who stand side by side
# {s} is a lower style as a noun.
PAIR = (
    "the exact same {n} on the top as {s} on the bottom",
    "the exact same {n} on the top as {s} on the bottom",
    "the same {n} on the top and as {s} on the bottom",
    "{a} on the top and the same {n} as {s} on the bottom",
    "{a} on top and {s} of it below",
    "{a} as {s} below itself",
    "{a} and below it {s} of the same {n}",
    "{a} above {s} of the same {n}",
    "at the top {a}, at the bottom {s} of it",
    "{a} on the top, {s} of the same {n} on the bottom",
)
LOWER = {
    "pencil sketch": ("a sketch", "a sketch", "a pencil sketch", "a drawing", "a pencil drawing"),
    "watercolour": ("a watercolour", "a watercolour painting", "a painting"),
    "pixel art": ("pixel art", "a pixel art version", "a pixelated picture"),
    "silhouette": ("a silhouette", "a black silhouette"),
    "blueprint": ("a blueprint", "a blueprint drawing"),
    "neon": ("a neon sign", "a glowing neon sign"),
    "old photograph": ("an old photograph", "an old faded photograph", "an old photo"),
    "folded from paper": ("origami", "an origami version", "a paper folding"),
}
STYLED = {
    "pencil sketch": (
        *("a pencil sketch of {}", "a sketch of {}", "a pencil drawing of {}", "a drawing of {}", "{} drawn in pencil"),
        *("{}, pencil sketch", "{}, pencil drawing", "{} as a pencil sketch", "pencil sketch: {}"),
    ),
    "watercolour": (
        *("a watercolour painting of {}", "a watercolour of {}", "a painting of {}", "a painting of {}"),
        *("{} painted in watercolour", "{}, watercolour", "{}, painting", "{} as a watercolour", "painting: {}"),
        "a painting of {} in watercolours",
    ),
    "pixel art": (
        *("pixel art of {}", "{} in pixel art", "a pixel art picture of {}", "{} as pixel art", "{} in 8-bit style"),
        *("{}, pixel art", "{} made of large pixels"),
    ),
    "silhouette": (
        *("the silhouette of {}", "a black silhouette of {}", "{} as a silhouette", "{} in silhouette"),
        *("only the outline of {} filled in black", "{}, black silhouette"),
    ),
    "blueprint": (
        *("a blueprint of {}", "{} as a blueprint", "a technical drawing of {} in white on blue"),
        *("white lines on blue paper showing {}", "{} drawn as a blueprint", "{}, blueprint"),
    ),
    "neon": (
        *("a neon sign of {}", "{} as a neon sign", "{} in neon lights", "{} glowing in neon"),
        *("a glowing neon sign of {}", "{}, neon lights"),
    ),
    "old photograph": (
        *("an old photograph of {}", "{} in an old photograph", "a faded photograph of {}", "an old photo of {}"),
        *("a sepia photograph of {}", "a vintage photograph of {}", "{}, old photograph"),
    ),
    "folded from paper": (
        *("{} folded from paper", "{}, folded from paper", "an origami version of {}", "{} made of folded paper"),
        *("{} in origami", "origami of {}", "origami: {}"),
    ),
}
# The view first takes the thing itself, then its place: "a close-up of a cat in a meadow".
VIEWED = {
    "close-up": ("a close-up of {}", "{} in close-up", "a close-up view of {}", "a close picture of {}"),
    "from afar": ("{} seen from afar", "{} far away", "{} in the distance", "a distant view of {}", "{} from far away"),
    "upside down": ("{} upside down", "{} turned upside down", "an upside-down {n}", "{} on its head"),
    "fisheye": (
        *("a fisheye view of {}", "{} through a fisheye lens", "{} seen through a fisheye lens"),
        *("a fisheye picture of {}", "a fisheye photo of {}"),
    ),
    "cross-section": (
        *("a cross-section of {}", "{} cut in half", "{} cut open", "the inside of {}", "{} in cross-section"),
        *("a cross-section view of {}", "half of {} seen from inside"),
    ),
}
LIT = {
    "sunrise": (
        *(
            "at sunrise",
            "at sunrise",
            "at sunrise with long shadows",
            "in the light of the rising sun",
            "in the early morning sun",
        ),
        "at dawn",
    ),
    "rain": ("in the rain", "on a rainy day", "while it rains", "in rainy weather", "in falling rain"),
    "snowfall": ("in falling snow", "while it snows", "on a snowy day", "in snowfall", "while snow is falling"),
}
WRITTEN = (
    "{a} that says {w}",
    "{a} saying {w}",
    "{a} with the word {w} on it",
    "{a} that has the word {w} written on it",
    "{a} with {w} written on it",
    "the word {w} on {a}",
    "{a} that reads {w}",
    "{a} with the text {w}",
)
FORMED = (" in the shape of {}", " in the shape of {}", " shaped like {}", " in the form of {}")
LOOKING = (" in the shape of {}", " in the shape of {}", " shaped like {}", " that looks like {}", " in the form of {}")
MATERIAL = (" made of {}", " made of {}", " made from {}", " built of {}", " made out of {}", " built from {}")
WEARING = (" wearing {}", " wearing {}", " in {}", " in {}", " dressed in {}")
POSED = (" sitting", " standing")
SAME_NAME = (
    "a stack of three {p}: {a} on the top, {b} in the middle and {c} at the bottom",
    "a stack of three {p}: {a} on the top, {b} in the middle and {c} at the bottom",
    "a stack of three {p}, {x} on top, {y} in the middle and {z} at the bottom",
    "a stack of {p}, {x} on top, {y} in the middle, {z} at the bottom",
    "three {p} on top of each other, from top to bottom {x}, {y} and {z}",
    "three stacked {p}: {x}, {y} and {z} from top to bottom",
    "{a} on {b} on {c}",
    "{a} on {b} on {c}",
    "{a} on top of {b} on top of {c}",
    "{a} sitting on {b} on {c}",
)
STACKED = (
    "{a} on top of {b} on top of {c}",
    "{a} on {b} on {c}",
    "{a} on {b} on {c}",
    "a stack of {a}, {b} and {c} from top to bottom",
    "a stack: {a} on the top, {b} in the middle and {c} at the bottom",
    "{c} with {b} on top of it and {a} on top of that",
    "{a} at the top, {b} in the middle and {c} at the bottom of a stack",
)
TWO_RIDING = (
    "{a} riding {b} beside {c} riding {d}",
    "{a} riding {b} to the left of {c} riding {d}",
    "{a} riding {b} and {c} riding {d}",
    "on the left {a} riding {b} and on the right {c} riding {d}",
    "{c} riding {d} to the right of {a} riding {b}",
    "{a} on {b} next to {c} on {d}",
)
# Without a verb, so that any of them can be "a drawing of" it; {a} stands in the relation to {b}.
RELATED: dict[RelationName, tuple[str, ...]] = {
    "left of": (
        *("{a} to the left of {b}", "{a} to the left of {b}", "{a} left of {b}", "{a} on the left of {b}"),
        *("{b} to the right of {a}", "{b} right of {a}", "{a} on the left and {b} on the right"),
        *("on the left {a} and on the right {b}", "{b} on the right of {a}"),
    ),
    "right of": (
        *("{a} to the right of {b}", "{a} to the right of {b}", "{a} right of {b}", "{a} on the right of {b}"),
        *("{b} to the left of {a}", "{b} left of {a}", "{a} on the right and {b} on the left"),
        *("on the right {a} and on the left {b}", "{b} on the left of {a}"),
    ),
    "above": (
        *("{a} above {b}", "{a} above {b}", "{a} over {b}", "{b} below {a}", "{b} under {a}"),
        *("{a} at the top and {b} at the bottom", "at the bottom {b}, above it {a}"),
    ),
    "below": (
        *("{a} below {b}", "{a} below {b}", "{a} under {b}", "{b} above {a}", "{b} over {a}"),
        *("{a} at the bottom and {b} at the top", "at the top {b}, below it {a}"),
    ),
    "on top of": (
        *("{a} on top of {b}", "{a} on {b}", "{a} standing on {b}", "{a} sitting on {b}", "{a} sitting on {b}"),
        *("{b} with {a} on top of it", "{b} under {a}", "{a} on the top of {b}", "{a} sitting on top of {b}"),
    ),
    "inside": ("{a} inside {b}", "{a} in {b}", "{b} with {a} inside it", "{b} around {a}", "{a} within {b}"),
    "behind": ("{a} behind {b}", "{b} in front of {a}", "{a} partly hidden by {b}", "{b} partly covering {a}"),
    "riding": (
        *("{a} riding {b}", "{a} riding {b}", "{a} on the back of {b}", "{b} with {a} riding on it"),
        *("{a} riding on {b}", "{a} who is riding {b}", "{b} ridden by {a}"),
    ),
    "walking": (
        *("{a} walking {b}", "{a} walking {b}", "{a} taking {b} for a walk", "{a} leading {b} on a leash"),
        *("{a} walking {b} on a leash", "{a} with {b} on a leash", "{b} on a leash held by {a}"),
    ),
    "drinking": (
        *("{a} drinking {b}", "{a} drinking {b}", "{a} having {b}", "{a} sipping {b} through a straw"),
        *("{a} drinking {b} through a straw", "{a} enjoying {b}"),
    ),
    "making": (
        *("{a} making {b}", "{a} making {b}", "{a} preparing {b}", "{a} pouring {b}", "{b} being made by {a}"),
        "{a} who is making {b}",
    ),
}
WHERE: dict[tuple[str, str], tuple[str, ...]] = {
    ("left", "top"): ("at the top left", "in the upper left", "on the left at the top"),
    ("right", "top"): ("at the top right", "in the upper right", "on the right at the top"),
    ("left", "bottom"): ("at the bottom left", "in the lower left", "on the left at the bottom"),
    ("right", "bottom"): ("at the bottom right", "in the lower right", "on the right at the bottom"),
    ("left", "middle"): ("on the left", "at the left", "on the left side", "in the middle of the left side"),
    ("right", "middle"): ("on the right", "at the right", "on the right side", "in the middle of the right side"),
    ("left", ""): ("on the left", "at the left", "on the left side"),
    ("right", ""): ("on the right", "at the right", "on the right side"),
    ("middle", "top"): ("at the top", "at the top in the middle"),
    ("middle", "bottom"): ("at the bottom", "at the bottom in the middle"),
    ("", "top"): ("at the top", "near the top"),
    ("", "bottom"): ("at the bottom", "near the bottom"),
    ("middle", "middle"): ("in the middle", "in the centre", "in the middle of the picture"),
}
CORNER = {
    ("left", "top"): ("in the upper left corner", "in the top left corner"),
    ("right", "top"): ("in the upper right corner", "in the top right corner"),
    ("left", "bottom"): ("in the lower left corner", "in the bottom left corner"),
    ("right", "bottom"): ("in the lower right corner", "in the bottom right corner"),
}

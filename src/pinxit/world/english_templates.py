"""The English sentences: templates for every kind of plan, the plainest of each first.

{a}, {b} ... are noun phrases of the parts, {n} the bare name of the first, {} a whole inner sentence.
"""

from __future__ import annotations

from pinxit.world.scene import RelationName

ONE: tuple[str, ...] = ("{a}", "a picture of {a}", "there is {a}", "this is {a}", "an image of {a}")
MANY: tuple[str, ...] = ("{a}", "a picture of {a}", "there are {a}", "a group of {a}", "an image of {a}")
AND: tuple[str, ...] = (
    "{a} and {b}",
    "{b} and {a}",
    "a picture of {a} and {b}",
    "there is {a} and {b}",
    "{a} together with {b}",
)
# The upper half as it is, the lower in a style; {s} is the style as a noun.
PAIR: tuple[str, ...] = (
    "the exact same {n} on the top as {s} on the bottom",
    "{a} on the top and the same {n} as {s} on the bottom",
    "{a} as {s} below itself",
    "{a} and below it {t} of the same {n}",
    "{a} above {s} of the same {n}",
)
STYLE_NOUNS: dict[str, tuple[str, str]] = {
    "pencil sketch": ("a sketch", "a pencil sketch"),
    "watercolour": ("a watercolour", "a watercolour painting"),
    "pixel art": ("pixel art", "a pixel art version"),
    "silhouette": ("a silhouette", "a black silhouette"),
    "blueprint": ("a blueprint", "a blueprint drawing"),
    "neon": ("a neon sign", "a glowing neon sign"),
    "old photograph": ("an old photograph", "an old faded photograph"),
    "folded from paper": ("origami", "an origami version"),
}
STYLED: dict[str, tuple[str, ...]] = {
    "pencil sketch": (
        "a pencil sketch of {}",
        "a sketch of {}",
        "{} as a pencil sketch",
        "{} drawn in pencil",
        "a pencil drawing of {}",
    ),
    "watercolour": (
        "a watercolour painting of {}",
        "a watercolour of {}",
        "{} painted in watercolour",
        "{} as a watercolour",
        "a painting of {} in watercolours",
    ),
    "pixel art": (
        "pixel art of {}",
        "{} in pixel art",
        "a pixel art picture of {}",
        "{} as pixel art",
        "{} in 8-bit style",
    ),
    "silhouette": (
        "the silhouette of {}",
        "a black silhouette of {}",
        "{} as a silhouette",
        "{} in silhouette",
        "only the outline of {} filled in black",
    ),
    "blueprint": (
        "a blueprint of {}",
        "{} as a blueprint",
        "white lines on blue paper showing {}",
        "a technical drawing of {} in white on blue",
        "{} drawn as a blueprint",
    ),
    "neon": (
        "a neon sign of {}",
        "{} as a neon sign",
        "{} in neon lights",
        "{} glowing in neon",
        "a glowing neon sign of {}",
    ),
    "old photograph": (
        "an old photograph of {}",
        "{} in an old photograph",
        "a faded photograph of {}",
        "a sepia photograph of {}",
        "a vintage photograph of {}",
    ),
    "folded from paper": (
        "{} folded from paper",
        "an origami version of {}",
        "{} made of folded paper",
        "{} in origami",
        "origami of {}",
    ),
}
VIEWED: dict[str, tuple[str, ...]] = {
    "close-up": (
        "a close-up of {}",
        "{} in close-up",
        "a close-up view of {}",
        "{} seen from very near",
        "a close picture of {}",
    ),
    "from afar": ("{} seen from afar", "{} far away", "{} in the distance", "a distant view of {}", "{} from far away"),
    "upside down": (
        "{} upside down",
        "{} turned upside down",
        "an upside-down picture of {}",
        "{} on its head",
        "{} standing on its head",
    ),
    "fisheye": (
        "{} through a fisheye lens",
        "a fisheye view of {}",
        "{} seen through a fisheye lens",
        "a fisheye picture of {}",
        "{} in a round fisheye view",
    ),
    "cross-section": (
        "a cross-section of {}",
        "{} cut in half",
        "{} cut open",
        "the inside of {}",
        "{} in cross-section",
    ),
}
LIT: dict[str, tuple[str, ...]] = {
    "sunrise": (
        "{} at sunrise with long shadows",
        "{} at sunrise",
        "{} in the light of the rising sun",
        "sunrise and {} with a long shadow",
        "{} in the early morning sun",
    ),
    "rain": ("{} in the rain", "{} on a rainy day", "{} while it rains", "{} in rainy weather", "rain falling on {}"),
    "snowfall": (
        "{} in falling snow",
        "{} while it snows",
        "{} on a snowy day",
        "{} in snowfall",
        "snow falling on {}",
    ),
}
WRITTEN: tuple[str, ...] = (
    "{a} that says {w}",
    "{a} saying {w}",
    "{a} with the word {w} on it",
    "{a} that has the word {w} written on it",
    "the word {w} on {a}",
)
SAME_NAME: tuple[str, ...] = (
    "a stack of three {p}, {x} on top, {y} in the middle and {z} at the bottom",
    "a stack of {p}, {x} on top, {y} in the middle, {z} at the bottom",
    "{a} on top of {b} on top of {c}",
    "{a} on {b} on {c}",
    "three {p} on top of each other, from top to bottom {x}, {y} and {z}",
)
# Several relations at once; {a} to {d} are the parts in order.
CHAINED: dict[tuple[RelationName, ...], tuple[str, ...]] = {
    ("on top of", "on top of"): (
        "{a} on top of {b} on top of {c}",
        "{a} on {b} on {c}",
        "a stack of {a}, {b} and {c} from top to bottom",
        "{c} with {b} on top of it and {a} on top of that",
        "{a} at the top, {b} in the middle and {c} at the bottom of a stack",
    ),
    ("riding", "left of", "riding"): (
        "{a} riding {b} beside {c} riding {d}",
        "{a} riding {b} to the left of {c} riding {d}",
        "{a} riding {b} and {c} riding {d}",
        "on the left {a} riding {b} and on the right {c} riding {d}",
        "{c} riding {d} to the right of {a} riding {b}",
    ),
}
# {a} stands in the relation to {b}; where an inverse exists, {b} stands in the inverse relation to {a}.
RELATED: dict[RelationName, tuple[str, ...]] = {
    "left of": (
        "{a} to the left of {b}",
        "{a} left of {b}",
        "{a} on the left of {b}",
        "{a} is to the left of {b}",
        "a picture of {a} to the left of {b}",
        "{a} on the left and {b} on the right",
        "on the left {a} and on the right {b}",
    ),
    "right of": (
        "{a} to the right of {b}",
        "{a} right of {b}",
        "{a} on the right of {b}",
        "{a} is to the right of {b}",
        "a picture of {a} to the right of {b}",
        "{a} on the right and {b} on the left",
        "on the right {a} and on the left {b}",
    ),
    "above": (
        "{a} above {b}",
        "{a} is above {b}",
        "a picture of {a} above {b}",
        "{a} over {b}",
        "{a} at the top and {b} at the bottom",
    ),
    "below": (
        "{a} below {b}",
        "{a} is below {b}",
        "a picture of {a} below {b}",
        "{a} under {b}",
        "{a} at the bottom and {b} at the top",
    ),
    "on top of": (
        "{a} on top of {b}",
        "{a} on {b}",
        "{a} is on top of {b}",
        "{a} standing on {b}",
        "{a} sitting on {b}",
        "{b} with {a} on top of it",
        "{b} under {a}",
    ),
    "inside": (
        "{a} inside {b}",
        "{a} in {b}",
        "{a} is inside {b}",
        "{b} with {a} inside it",
        "{b} around {a}",
    ),
    "behind": (
        "{a} behind {b}",
        "{a} is behind {b}",
        "{b} in front of {a}",
        "{a} partly hidden by {b}",
        "a picture of {a} behind {b}",
    ),
    "riding": (
        "{a} riding {b}",
        "{a} is riding {b}",
        "{a} on the back of {b}",
        "{b} with {a} riding on it",
        "a picture of {a} riding {b}",
    ),
    "walking": (
        "{a} walking {b}",
        "{a} taking {b} for a walk",
        "{a} leading {b} on a leash",
        "{b} on a leash held by {a}",
        "{a} with {b} on a leash",
    ),
    "drinking": (
        "{a} drinking {b}",
        "{a} is drinking {b}",
        "{a} having {b}",
        "{a} sipping {b} through a straw",
        "{a} enjoying {b}",
    ),
    "making": (
        "{a} making {b}",
        "{a} is making {b}",
        "{a} preparing {b}",
        "{a} pouring {b}",
        "{b} made by {a}",
    ),
}

"""The values that travel: a Prompt goes in, an EncodedText leads, Ranked pictures come out; Examples are learned from.

Read this file first: every recipe is a chain of functions from one to the next, over plain tensors in between. Shapes
use B batch, L text positions, D width, E pooled width, H and W rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pinxit.errors import UsageError
from pinxit.schema import Count, Grey, Seed, check_fields
from pinxit.texts import check_text

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Picture = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
    """One picture: uint8 array of shape [H, W, 3], RGB."""


def check_pixels(*pictures: Picture) -> None:
    """Raise UsageError for what is no picture: a NumPy array uint8 [H, W, 3] of at least one pixel."""
    import numpy as np

    for one in pictures:
        here = isinstance(one, np.ndarray)
        if not (here and one.dtype == np.uint8 and one.ndim == 3 and one.shape[2] == 3 and one.size):
            found = f"{one.dtype} {list(one.shape)}" if here else type(one).__name__
            raise UsageError(f"a picture must be a NumPy array uint8 [height, width, 3], 0 to 255, not {found}.")


LONGEST_PROMPT = 100_000  # characters: painters read some hundred tokens, but a tokenizer reads a text to its end


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the user asked for. (text, seed, candidate) always names the same picture.

    Raises UsageError for a text that is not UTF-8 or has more than LONGEST_PROMPT characters, or a seed that is not a
    whole number from 0 to 2**63 - 1.
    """

    text: str
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self, "")
        check_text(self.text, "the prompt")
        if len(self.text) > LONGEST_PROMPT:
            raise UsageError(f"the prompt has {len(self.text):,} characters: shorten it to {LONGEST_PROMPT:,}.")


Filter = Literal["nearest", "lanczos", "bilinear", "bicubic", "area", "hamming"]


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a picture of any size becomes the square that a model sees; the defaults are CLIP's (section 2.4).

    The side named by `resized` becomes `side` pixels long (None: the model's input size); "both" does not keep the
    aspect ratio. Then the centre is cropped, and whatever resizing the longer side leaves empty is padded with `fill`.
    Raises UsageError for a field that is out of its range.
    """

    resized: Literal["shorter", "longer", "both"] = "shorter"
    side: Count | None = None
    method: Filter = "bicubic"
    fill: Grey = 0  # a grey level, 0 to 255

    def __post_init__(self) -> None:
        check_fields(self, "fitting")


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Text as a generator sees it: what a text encoder returns."""

    sequence: Tensor  # [B, L, D]
    pooled: Tensor  # [B, E]
    mask: Tensor  # bool [B, L], True where there is text


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single answer to ==
class Latent:
    """unCLIP's two-part latent (arXiv 2204.06125, section 3): a picture's CLIP embedding, and noise for the rest."""

    embedding: Tensor  # [E], of length one
    noise: Tensor  # x_T [C, H, W], found by DDIM inversion: deterministic DDIM draws the picture again from it


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single answer to ==
class Mask:
    """Which part of a picture is repainted: white, or True, means "paint here"; black, or False, is kept.

    Some programs use the opposite convention: invert their masks first. Raises UsageError for another shape or type.
    """

    paint: np.ndarray[tuple[int, int], np.dtype[np.bool_]]  # [H, W]

    def __post_init__(self) -> None:
        kind, shape = getattr(self.paint, "dtype", type(self.paint).__name__), getattr(self.paint, "shape", ())
        if str(kind) != "bool" or len(shape) != 2:  # numbers would be multiplied by pixels
            raise UsageError(f"a mask must be a NumPy array bool [height, width], not {kind} {list(shape)}.")

    @classmethod
    def of(cls, picture: Picture) -> Mask:
        """The mask that a picture [H, W, 3] shows: what is lighter than middle grey is painted."""
        check_pixels(picture)
        return cls(picture.mean(axis=2) >= 128)


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single answer to ==
class Ranked:
    """One finished picture with its score; lists of these are sorted best first."""

    picture: Picture
    seed: int
    candidate: int
    score: float


@dataclass(frozen=True, slots=True)
class Example:
    """One training item: a picture, every caption known for it, and a name to report it by."""

    picture: Picture
    captions: tuple[str, ...]
    key: str
    facts: Any = field(default=None, compare=False)  # a Scene of the picture world, a Labelled, or None


class Dataset(Protocol):
    """Anything with a length and items by index; item i is the same every time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

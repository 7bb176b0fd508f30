"""Training targets of a judge: tensors made from a scene's facts, and masks of answers that the split rules out.

Shapes: O rows for one picture's objects, K columns of an object table, G garments, L links.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pinxit.errors import DataError
from pinxit.models.detector import DetectorConfig
from pinxit.recipes.judge.loss_masks import (
    answers_unshown,
    garments_unshown,
    links_unshown,
    materials_unshown,
    names_unshown,
    places_unshown,
    settings_unshown,
)
from pinxit.world.plan import GROUNDED_STYLES
from pinxit.world.scene import Item, Scene
from pinxit.world.vocabulary import FORMS

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 16  # most objects in a picture
LONGEST = 8  # most letters on a board
COLUMNS = 8  # name, x0, y0, x1, y1, colour, form, style
COLOUR, FORM, STYLE = 5, 6, 7
NOT_WORN, ANY_COLOUR = -1, 0  # of a garment; 1 + c: worn in colour c


def targets_of(scene: Scene, config: DetectorConfig) -> dict[str, Tensor]:
    """The targets of a scene for the heads of `config`, and masks `unshown_...` of the answers to leave out.

    `objects` [MOST, COLUMNS], `places`, `unshown_names` [names], `unshown_answers` [MOST, answers], `unshown_places`
    [places]; where the config has such a head, `materials` int64 [MOST] (0: the usual one), `garments` int64 [MOST, G],
    `links` bool [MOST, 2, L] (as subject, as object), `views` and `lights` (0: the usual one), `words` int64
    [MOST, LONGEST] (letter i is i + 1, 0 after the last). Raises DataError for names or letters that it does not know.
    """
    truth = {
        "objects": object_table(scene, config),
        "places": torch.tensor(place_answer(scene, config)),
        "unshown_names": torch.from_numpy(names_unshown(scene, config)),
        "unshown_answers": unshown_table(scene, config),
        "unshown_places": torch.from_numpy(places_unshown(scene, config)),
    }
    return truth | {name: torch.from_numpy(values) for name, values in _further(scene, config)}


def _further(scene: Scene, config: DetectorConfig) -> Iterator[tuple[str, NDArray[np.generic]]]:
    if config.materials:
        answers = [1 + _index(config.materials, item.material) for item in scene.items]
        yield "materials", _rows(scene, np.array(answers, np.int64))
        yield "unshown_materials", _rows(scene, np.stack([materials_unshown(item, config) for item in scene.items]))
    if config.garments:
        yield "garments", _rows(scene, np.stack([_worn(item, config, scene.style) for item in scene.items]))
        flags = [garments_unshown(item, config) for item in scene.items]
        yield "unshown_garments", _rows(scene, np.stack([none for none, _ in flags]))
        yield "unshown_garment_colours", _rows(scene, np.stack([colours for _, colours in flags]))
    if config.links:
        yield "links", _rows(scene, _links(scene, config))
        yield "unshown_links", _rows(scene, links_unshown(scene, config))
    if config.letters:
        yield "words", _rows(scene, np.stack([letters_of(item.words, config.letters) for item in scene.items]))
    views, lights = settings_unshown(scene, config)
    if config.views:
        yield "views", np.array(1 + _index(config.views, scene.view), np.int64)
        yield "unshown_views", views
    if config.lights:
        yield "lights", np.array(1 + _index(config.lights, scene.light), np.int64)
        yield "unshown_lights", lights


def _rows(scene: Scene, of_items: NDArray[np.generic]) -> NDArray[np.generic]:
    """Items' values as rows of the object table [MOST, ...]: those of a pair twice, zeros in empty rows."""
    table = np.zeros((MOST, *of_items.shape[1:]), of_items.dtype)
    copies = 1 if scene.lower_style is None else 2
    table[: copies * len(of_items)] = np.concatenate([of_items] * copies)
    return table


def _worn(item: Item, config: DetectorConfig, style: str | None) -> NDArray[np.int64]:
    worn = {garment: colour for colour, garment in item.outfit}
    coloured = style is None or style in GROUNDED_STYLES
    return np.array(
        [1 + _index(config.colours, worn[g] if coloured else None) if g in worn else NOT_WORN for g in config.garments],
        np.int64,
    )


def _links(scene: Scene, config: DetectorConfig) -> NDArray[np.bool_]:
    table = np.zeros((len(scene.items), 2, len(config.links)), np.bool_)
    for relation in scene.relations:
        if relation.name in config.links:
            k = config.links.index(relation.name)
            table[relation.subject, 0, k] = table[relation.object, 1, k] = True
    return table


def letters_of(words: str | None, letters: str) -> NDArray[np.int64]:
    """Words as int64 [LONGEST]: letter i is i + 1, 0 after the last.

    Raises DataError for words that are too long or have unknown letters.
    """
    numbers = np.zeros(LONGEST, np.int64)
    if words:
        if len(words) > LONGEST or not set(words) <= set(letters):
            raise DataError(f"the judge cannot read '{words}': at most {LONGEST} of the letters {letters}.")
        numbers[: len(words)] = [1 + letters.index(letter) for letter in words]
    return numbers


def object_table(scene: Scene, config: DetectorConfig) -> Tensor:
    """The objects of a scene: float [MOST, COLUMNS]; empty rows have name -1, and unknown facts are -1.

    A pair's picture shows everything twice, the lower half in the lower style. Raises DataError for too many objects,
    or a name that the detector does not have.
    """
    table = torch.full((MOST, COLUMNS), -1.0)
    copies = [(0.0, scene.style)] + ([(0.5, scene.lower_style)] if scene.lower_style is not None else [])
    rows = [(item, down, style) for down, style in copies for item in scene.items]
    if len(rows) > MOST:
        raise DataError(f"a scene of {len(rows)} objects is more than the judge learns from ({MOST}).")
    for row, (item, down, style) in zip(table, rows, strict=False):
        x0, y0, x1, y1 = (min(max(edge, 0.0), 1.0) for edge in item.box)  # a close-up reaches beyond the frame
        form = item.form or item.name  # an object without a given form has its own: an avocado is avocado-shaped
        answers = (_index(config.colours, item.colour), _index(config.forms, form))
        style_answer = 0 if style is None else 1 + _index(config.styles, style)
        row[:] = torch.tensor([_name(config, item.name), x0, y0 + down, x1, y1 + down, *answers, style_answer])
    return table


def place_answer(scene: Scene, config: DetectorConfig) -> int:
    """Index of the picture's ground; -1 (unknown) when a style replaces it, or half of it."""
    hidden = scene.style not in (None, *GROUNDED_STYLES) or scene.lower_style is not None
    return -1 if hidden else _index(config.places, scene.place)


def flat_forms(config: DetectorConfig) -> int:
    """How many of the forms are flat outlines; the forms of sprites follow them."""
    return sum(form in FORMS for form in config.forms)


def _index(words: tuple[str, ...], word: str | None) -> int:
    return words.index(word) if word in words else -1


def _name(config: DetectorConfig, name: str) -> int:
    if name not in config.names:
        raise DataError(f"the judge has no word for '{name}'; train it on the world that has it.")
    return config.names.index(name)


def unshown_table(scene: Scene, config: DetectorConfig) -> Tensor:
    """`answers_unshown` for every row of the object table, bool [MOST, answers]."""
    copies = [(scene.style, False)] + ([(scene.lower_style, True)] if scene.lower_style is not None else [])
    rows = [answers_unshown(item, style, lower, config) for style, lower in copies for item in scene.items]
    table = torch.zeros(MOST, len(config.colours) + len(config.forms) + 1 + len(config.styles), dtype=torch.bool)
    table[: len(rows)] = torch.from_numpy(np.stack(rows))
    return table


class Objects(NamedTuple):
    """The objects of a batch, one a row."""

    picture: Tensor  # int64 [M]
    row: Tensor  # int64 [M], of its picture's table
    name: Tensor  # int64 [M]
    centre: Tensor  # [M, 2] in cells
    extent: Tensor  # [M, 2] natural logarithm of width and height as fractions of the side
    sigma: Tensor  # [M] standard deviation of the Gaussian on the heat map, in cells
    colour: Tensor  # int64 [M], -1: unknown; so for the next two
    form: Tensor
    style: Tensor
    unshown: Tensor  # bool [M, colours + forms + 1 + styles]: answers masked in the loss


def unpack(table_BOK: Tensor, unshown_BOA: Tensor, grid: int) -> Objects:
    """The non-empty rows of object tables [B, O, K] and of their masks [B, O, answers]; `grid`: cells of a side."""
    picture_M, place_M = (table_BOK[:, :, 0] >= 0).nonzero(as_tuple=True)
    rows, unshown = table_BOK[picture_M, place_M], unshown_BOA[picture_M, place_M]
    low, high = rows[:, 1:3], rows[:, 3:5]
    sides = (high - low).clamp(min=1e-3)
    sigma = (0.12 * grid * sides.prod(1).sqrt()).clamp(0.4, 1.2)
    centre = ((low + high) / 2 * grid).clamp(0, grid - 1e-3)
    name, colour, form, style = rows[:, [0, COLOUR, FORM, STYLE]].long().unbind(1)
    return Objects(picture_M, place_M, name, centre, sides.log(), sigma, colour, form, style, unshown)

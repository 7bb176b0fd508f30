"""Training the judge: pictures whose facts are known, worn a little, and what the detector must say of them.

Shapes: B pictures, M objects of all pictures together, O rows for one picture's objects, K columns of an object table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.data.order import order_batch
from pinxit.data.world.scene import Scene
from pinxit.data.world.vocabulary import MADE
from pinxit.errors import DataError
from pinxit.functional.degrade import faced, repainted, worn
from pinxit.functional.detection import heat_loss, heat_targets
from pinxit.models.detector import Described, Detector, DetectorConfig
from pinxit.recipes.judge_unshown import answers_unshown, names_unshown, places_unshown
from pinxit.training.draws import seeded, torch_rng
from pinxit.training.plan import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinxit.types import Dataset, Picture

MOST = 16  # objects a picture can have
COLUMNS = 8  # name, x0, y0, x1, y1, colour, form, style
COLOUR, FORM, STYLE = 5, 6, 7
MADE_NAMES = tuple(noun.name for noun in MADE)
FACED = 0.4  # share of the pictures with outlines that get a strange inside


def object_table(scene: Scene, config: DetectorConfig) -> Tensor:
    """What there is to find in a scene: float [MOST, COLUMNS]; empty rows have name -1, untold facts are -1.

    A pair's picture shows everything twice, the lower half in the lower style. Raises DataError for a name that the
    detector has no word for.
    """
    table = torch.full((MOST, COLUMNS), -1.0)
    copies = [(0.0, scene.style)] + ([(0.5, scene.lower_style)] if scene.lower_style is not None else [])
    rows = [(item, down, style) for down, style in copies for item in scene.items]
    if len(rows) > MOST:
        raise DataError(f"a scene of {len(rows)} objects is more than the judge learns from ({MOST}).")
    for row, (item, down, style) in zip(table, rows, strict=False):
        x0, y0, x1, y1 = (min(max(edge, 0.0), 1.0) for edge in item.box)  # a close-up reaches beyond the frame
        form = item.form or (item.name if item.kind == "shape" else None)  # a triangle has the form of a triangle
        answers = (_index(config.colours, item.colour), _index(config.forms, form))
        told = 0 if style is None else 1 + _index(config.styles, style)
        row[:] = torch.tensor([_name(config, item.name), x0, y0 + down, x1, y1 + down, *answers, told])
    return table


def place_answer(scene: Scene, config: DetectorConfig) -> int:
    """Index of the picture's ground, -1 when a style hides it or half of it."""
    hidden = scene.style is not None or scene.lower_style is not None
    return -1 if hidden else _index(config.places, scene.place)


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
    name: Tensor  # int64 [M]
    centre: Tensor  # [M, 2] in cells
    extent: Tensor  # [M, 2] natural logarithm of width and height as fractions of the side
    sigma: Tensor  # [M] width of the bump on the heat map, in cells
    colour: Tensor  # int64 [M], -1 unknown, like the next two
    form: Tensor
    style: Tensor
    unshown: Tensor  # bool [M, colours + forms + 1 + styles]: answers that are neither right nor wrong


def unpack(table_BOK: Tensor, unshown_BOA: Tensor, grid: int) -> Objects:
    """Rows of object tables, empty rows left out."""
    picture_M, place_M = (table_BOK[:, :, 0] >= 0).nonzero(as_tuple=True)
    rows, unshown = table_BOK[picture_M, place_M], unshown_BOA[picture_M, place_M]
    low, high = rows[:, 1:3], rows[:, 3:5]
    sides = (high - low).clamp(min=1e-3)
    sigma = (0.12 * grid * sides.prod(1).sqrt()).clamp(0.4, 1.2)
    centre = ((low + high) / 2 * grid).clamp(0, grid - 1e-3)
    name, colour, form, style = rows[:, [0, COLOUR, FORM, STYLE]].long().unbind(1)
    return Objects(picture_M, name, centre, sides.log(), sigma, colour, form, style, unshown)


def detector_loss(model: Detector, pictures: Tensor, truth: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """All that the detector says against the truth; also the sum's parts by name.

    `truth` is a batch of `JudgeTask`, with `faced` (bool [B]: only the forms of these pictures count) and `asked`
    (int64 [B]: the names by which they are asked for, since a form must not depend on what has it).
    """
    grid = model.config.grid
    true = unpack(truth["objects"], truth["unshown_answers"], grid)
    found = model(pictures)
    column, row = true.centre.floor().long().unbind(1)
    cell = row * grid + column
    place = torch.stack([true.picture, true.name, cell], 1)
    target = heat_targets(found.heat.shape, place, true.centre, true.sigma)
    faced_B = truth["faced"]
    named_M = ~faced_B[true.picture]
    shown_BN11 = ~(truth["unshown_names"] | faced_B[:, None])[:, :, None, None]
    at_centres = found.heat[true.picture, :, row, column].masked_fill(truth["unshown_names"][true.picture], -torch.inf)
    name_M = F.cross_entropy(at_centres.float(), true.name, reduction="none")
    parts = {
        "heat": heat_loss(found.heat, target, len(cell), shown_BN11),
        "name": (name_M * named_M).sum() / named_M.sum().clamp(min=1),
    }
    asked_M = torch.where(named_M, true.name, truth["asked"][true.picture])
    parts |= _told_loss(model.describe(found, true.picture, asked_M, cell), true, named_M)
    if model.config.places:
        parts["place"] = _answer_loss(found.place, truth["places"], truth["unshown_places"])
    return torch.stack(list(parts.values())).sum(), parts


def _told_loss(told: Described, true: Objects, named_M: Tensor) -> dict[str, Tensor]:
    off_middle = true.centre - true.centre.floor() - 0.5
    weight_M1 = named_M[:, None] / (2 * named_M.sum().clamp(min=1))
    wrong = {"offset": told.offset - off_middle, "extent": told.extent - true.extent}
    parts = {name: (error.abs() * weight_M1).sum() for name, error in wrong.items()}
    unshown = torch.split(true.unshown, [told.colour.shape[1], told.form.shape[1], told.style.shape[1]], 1)
    for name, ruled_out in zip(("colour", "form", "style"), unshown, strict=True):
        if ruled_out.shape[1] > 1:
            parts[name] = _answer_loss(getattr(told, name), getattr(true, name), ruled_out)
    return parts


def _answer_loss(logits: Tensor, answer: Tensor, ruled_out: Tensor) -> Tensor:
    """Yes or no for every possible answer, summed; mean over the rows whose answer is not -1, 0 when there is none.

    What is ruled out costs nothing. (A softmax would let all other answers of, say, lamps grow together, above the
    colours that lamps are never shown in.)
    """
    known = answer >= 0
    truth = F.one_hot(answer.clamp(min=0), logits.shape[1]).float()
    cost = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return (cost * (known[:, None] & ~ruled_out)).sum() / known.sum().clamp(min=1)


class JudgeTask:
    """A detector learns to find everything in pictures of known scenes (`Example.facts`), whole and worn."""

    name = "judge"

    def __init__(
        self, data: Dataset, config: DetectorConfig, seed: int = 0, draw: Callable[[Detector], Picture] | None = None
    ) -> None:
        self.data, self.seed, self.draw = data, seed, draw
        self.detector = seeded(lambda: Detector(config), seed, "detector")
        made = [config.names.index(name) for name in MADE_NAMES if name in config.names]
        self.formed = torch.tensor(made or range(len(config.names)))  # names of things that come in any form

    def modules(self) -> dict[str, torch.nn.Module]:
        return {"detector": self.detector}

    def batch(self, position: int, size: int) -> Batch:
        """`pictures` uint8 [B, 3, S, S], `objects` [B, MOST, COLUMNS], `places` int64 [B].

        And bool what the split rules out: `unshown_names` [B, names], `unshown_answers` [B, MOST, answers],
        `unshown_places` [B, places].
        """
        config = self.detector.config
        chosen = [self.data[int(i)] for i in order_batch(position, size, len(self.data), self.seed)]
        scenes = [_scene(one.facts, one.key) for one in chosen]
        return {
            "pictures": torch.from_numpy(np.stack([one.picture for one in chosen])).permute(0, 3, 1, 2).contiguous(),
            "objects": torch.stack([object_table(scene, config) for scene in scenes]),
            "places": torch.tensor([place_answer(scene, config) for scene in scenes]),
            "unshown_names": torch.from_numpy(np.stack([names_unshown(scene, config) for scene in scenes])),
            "unshown_answers": torch.stack([unshown_table(scene, config) for scene in scenes]),
            "unshown_places": torch.from_numpy(np.stack([places_unshown(scene, config) for scene in scenes])),
        }

    def loss(self, batch: Batch, position: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        clean = batch["pictures"].float() / 255
        draws = torch_rng(self.seed, "wear", position, clean.device)
        outlined_B = (batch["objects"][:, :, FORM] >= 0).any(1)
        faced_B = outlined_B & (torch.rand(len(clean), generator=draws, device=clean.device) < FACED)
        asked = torch.randint(len(self.formed), (len(clean),), generator=draws, device=clean.device)
        asked_B = self.formed.to(clean.device)[asked]
        with torch.autocast(clean.device.type, enabled=False):
            objects = unpack(batch["objects"], batch["unshown_answers"], self.detector.config.grid)
            outlined_M = faced_B[objects.picture] & (objects.form >= 0)
            boxes = batch["objects"][batch["objects"][:, :, 0] >= 0][:, 1:5]
            pictures = faced(clean, objects.picture[outlined_M], boxes[outlined_M], draws)
            pictures, strange_B = repainted(pictures, draws)
            pictures = worn(pictures, draws)
        truth = _without_colours(batch, strange_B | faced_B) | {"faced": faced_B, "asked": asked_B}
        total, parts = detector_loss(self.detector, pictures, truth)
        return total, {name: part.detach() for name, part in parts.items()}

    def preview(self) -> Picture | None:
        return self.draw(self.detector) if self.draw else None


def _without_colours(batch: Batch, strange_B: Tensor) -> Batch:
    """The truth of repainted or faced pictures: their colours, styles and grounds are unknown."""
    objects = batch["objects"].clone()
    for column in (COLOUR, STYLE):
        objects[:, :, column].masked_fill_(strange_B[:, None], -1.0)
    return batch | {"objects": objects, "places": batch["places"].masked_fill(strange_B, -1)}


def _scene(facts: object, key: str) -> Scene:
    if not isinstance(facts, Scene):
        raise DataError(f"the judge learns from pictures with known facts; {key} has none (use world:small).")
    return facts

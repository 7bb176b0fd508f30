"""Training the judge: its loss, on corrupted pictures whose contents are known.

Shapes: B pictures, M objects of all pictures together, O rows for one picture's objects, K columns of an object table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.data.order import order_batch
from pinxit.errors import DataError
from pinxit.functional.corruption import FACE, corrupted, faced, repainted
from pinxit.functional.detection import heat_loss, heat_targets
from pinxit.functional.draws import RowStreams
from pinxit.models.detector import Detector, DetectorConfig, ObjectPredictions
from pinxit.recipes.judge.gallery_losses import answer_loss, board_of, gallery_loss, letters_loss
from pinxit.recipes.judge.targets import (
    ANY_COLOUR,
    COLOUR,
    FORM,
    STYLE,
    Objects,
    flat_forms,
    letters_of,
    targets_of,
    unpack,
)
from pinxit.training.draws import key, numpy_rng, row_streams
from pinxit.training.initial import network
from pinxit.training.plan import Batch
from pinxit.training.rows import Rows
from pinxit.world.scene import Scene
from pinxit.world.vocabulary import MADE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinxit.types import Dataset, Picture

MADE_NAMES = tuple(noun.name for noun in MADE)
FACED = 0.4  # share of the pictures with flat forms that get a clock's face drawn inside, so that only outlines help
TURNED = 0.15  # share of single-object pictures that are turned upside down, where the judge reports that
SIGNS = 8  # one extra picture of a sign or storefront, to be read, for every so many pictures of a batch
WEIGHTS = {"own form": 0.3, "material": 3.0, "worn": 3.0, "links": 3.0, "view": 2.0, "light": 3.0, "letters": 0.5}
"""Weights of the loss's parts, where not 1: rarely shown attributes get more, letters and own forms less."""


def detector_loss(model: Detector, pictures: Tensor, truth: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the detector's losses, and its parts by name, before their `WEIGHTS`.

    `truth` is a batch of `JudgeTask`, with `faced` (bool [B]: pictures in which only forms and views count) and `asked`
    (int64 [B]: the name by which the form is queried in those, a random one, since a form must not depend on the name).
    """
    config = model.config
    true = unpack(truth["objects"], truth["unshown_answers"], config.grid)
    output = model(pictures)
    column, row = true.centre.floor().long().unbind(1)
    cell = row * config.grid + column
    place = torch.stack([true.picture, true.name, cell], 1)
    target = heat_targets(output.heat.shape, place, true.centre, true.sigma)
    faced_B = truth["faced"]
    named_M = ~faced_B[true.picture]
    shown_BN11 = ~(truth["unshown_names"] | faced_B[:, None])[:, :, None, None]
    open_MN = truth["unshown_names"][true.picture] | (target[true.picture, :, row, column] == 1)  # a star in a circle
    open_MN = open_MN.scatter(1, true.name[:, None], False)
    at_centres = output.heat[true.picture, :, row, column].masked_fill(open_MN, -torch.inf)
    name_M = F.cross_entropy(at_centres.float(), true.name, reduction="none")
    parts = {
        "heat": heat_loss(output.heat, target, len(cell), shown_BN11),
        "name": (name_M * named_M).sum() / named_M.sum().clamp(min=1),
    }
    asked_M = torch.where(named_M, true.name, truth["asked"][true.picture])
    described = model.describe(output, true.picture, asked_M, cell)
    parts |= _description_loss(described, true, named_M, config)
    parts |= gallery_loss(model, output, described, true, cell, named_M, truth)
    if config.places:
        parts["place"] = answer_loss(output.place, truth["places"], truth["unshown_places"])
    return torch.stack([WEIGHTS.get(name, 1.0) * part for name, part in parts.items()]).sum(), parts


def _description_loss(
    described: ObjectPredictions, true: Objects, named_M: Tensor, config: DetectorConfig
) -> dict[str, Tensor]:
    off_middle = true.centre - true.centre.floor() - 0.5
    weight_M1 = named_M[:, None] / (2 * named_M.sum().clamp(min=1))
    wrong = {"offset": described.offset - off_middle, "extent": described.extent - true.extent}
    parts = {name: (error.abs() * weight_M1).sum() for name, error in wrong.items()}
    colours, forms, styles = torch.split(
        true.unshown, [described.colour.shape[1], described.form.shape[1], described.style.shape[1]], 1
    )
    if colours.shape[1] > 1:
        parts["colour"] = answer_loss(described.colour, true.colour, colours)
    if forms.shape[1] > 1:
        # That an avocado is avocado-shaped is easy, and would outweigh the informative forms of clocks and lamps.
        own_M = (true.form >= flat_forms(config)) & (true.form == _own_forms(config).to(true.name.device)[true.name])
        parts["form"] = answer_loss(described.form, true.form.masked_fill(own_M, -1), forms)
        if len(config.forms) > flat_forms(config):
            parts["own form"] = answer_loss(described.form, true.form.masked_fill(~(own_M & named_M), -1), forms)
    if styles.shape[1] > 1:
        parts["style"] = answer_loss(described.style, true.style, styles)
    return parts


@cache
def _own_forms(config: DetectorConfig) -> Tensor:
    """For each name the index of the form of the same name, or -1."""
    return torch.tensor([config.forms.index(name) if name in config.forms else -1 for name in config.names])


class JudgeTask:
    """Train a detector on pictures of known scenes (`Example.facts`), clean and corrupted."""

    name = "judge"
    pieces = "settled"  # parts of the loss are means over the objects, whose number depends on how a batch is split

    def __init__(
        self,
        data: Dataset,
        config: DetectorConfig,
        seed: int = 0,
        draw: Callable[[Detector], Picture] | None = None,
        signs: Dataset | None = None,
        all_shown: bool = False,
    ) -> None:
        """`draw`: makes the preview. `signs`: extra pictures of signs and storefronts, used for their words only.

        `all_shown`: the data hold no combination out, so that no answer is masked.
        """
        self.data, self.seed, self.draw, self.signs, self.all_shown = data, seed, draw, signs, all_shown
        self.detector = network(lambda: Detector(config), seed, "detector")
        made = [config.names.index(name) for name in MADE_NAMES if name in config.names]
        self.formed = torch.tensor(made or range(len(config.names)))  # names of things that come in any form

    def modules(self) -> dict[str, torch.nn.Module]:
        return {"detector": self.detector}

    def can_fork(self) -> bool:
        return True

    def batch(self, rows: Rows) -> Batch:
        """`pictures` uint8 [B, 3, S, S], the `targets_of` their scenes, stacked, and extra signs to read."""
        config = self.detector.config
        chosen = [self.data[int(i)] for i in order_batch(rows.position, rows.count, len(self.data), self.seed)]
        shown = [(one.picture, _scene(one.facts, one.key)) for one in chosen]
        if "upside down" in config.views:
            shown = [self._turned(rows.position + i, picture, scene) for i, (picture, scene) in enumerate(shown)]
        truths = [targets_of(scene, config) for _, scene in shown]
        batch = {"pictures": _stacked([picture for picture, _ in shown])}
        batch |= {name: torch.stack([truth[name] for truth in truths]) for name in truths[0]}
        if self.all_shown:
            batch |= {name: torch.zeros_like(of) for name, of in batch.items() if name.startswith("unshown")}
        return batch | self._signs(rows)

    def _turned(self, position: int, picture: Picture, scene: Scene) -> tuple[Picture, Scene]:
        """Turn some single-object pictures upside down, so that this view is seen with every name."""
        if scene.pattern != "single_object" or numpy_rng(self.seed, "turned", position).random() >= TURNED:
            return picture, scene
        (item,) = scene.items
        x0, y0, x1, y1 = item.box
        return picture[::-1, ::-1], replace(
            scene, items=(replace(item, box=(1 - x1, 1 - y1, 1 - x0, 1 - y0)),), view="upside down"
        )

    def _signs(self, rows: Rows) -> Batch:
        """`signs` uint8 [signs, 3, S, S], `sign_boards` [signs, 4], `sign_words` int64 [signs, LONGEST]."""
        if self.signs is None:
            return {}
        letters = self.detector.config.letters
        shown = [self.signs[number // SIGNS] for number in _sign_positions(rows)]
        scenes = [_scene(one.facts, one.key) for one in shown]
        items = [next(item for item in scene.items if item.words) for scene in scenes]
        if not items:
            return {}
        return {
            "signs": _stacked([one.picture for one in shown]),
            "sign_boards": torch.stack([board_of(item.name, torch.tensor(item.box)) for item in items]),
            "sign_words": torch.stack([torch.from_numpy(letters_of(item.words, letters)) for item in items]),
        }

    def loss(self, batch: Batch, rows: Rows) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        clean = batch["pictures"].float() / 255
        draws = row_streams(self.seed, "wear", rows, clean.device)
        config = self.detector.config
        flat = (batch["objects"][:, :, FORM] >= 0) & (batch["objects"][:, :, FORM] < flat_forms(config))
        faced_B = flat.any(1) & (draws.uniform(len(clean)) < FACED)
        asked = (draws.uniform(len(clean)) * len(self.formed)).long()
        asked_B = self.formed.to(clean.device)[asked]
        with torch.autocast(clean.device.type, enabled=False):
            picture_M, place_M = (flat & faced_B[:, None]).nonzero(as_tuple=True)
            drawn_M14 = draws.uniform(*flat.shape, FACE)[picture_M, place_M]
            pictures = faced(clean, picture_M, batch["objects"][picture_M, place_M, 1:5], drawn_M14)
            pictures, strange_B = repainted(pictures, draws)
            pictures = corrupted(pictures, draws)
        truth = _without_colours(batch, strange_B | faced_B) | {"faced": faced_B, "asked": asked_B}
        total, parts = detector_loss(self.detector, pictures, truth)
        if self.detector.reader:
            with torch.autocast(clean.device.type, enabled=False):
                signs = batch["signs"].float() / 255 if "signs" in batch else clean[:0]
                others = RowStreams(
                    [key(self.seed, "signs", one) for one in _sign_positions(rows)][: len(signs)], clean.device
                )
                signs = corrupted(signs, others) if len(signs) else signs
            read = letters_loss(self.detector, pictures, signs, truth, faced_B | strange_B, draws, others)
            total, parts["letters"] = total + WEIGHTS["letters"] * read, read
        return total, {name: part.detach() for name, part in parts.items()}

    def preview(self) -> Picture | None:
        return self.draw(self.detector) if self.draw else None


def _without_colours(batch: Batch, strange_B: Tensor) -> Batch:
    """The targets of repainted or faced pictures: their colours, styles, grounds and light become unknown."""
    objects = batch["objects"].clone()
    for column in (COLOUR, STYLE):
        objects[:, :, column].masked_fill_(strange_B[:, None], -1.0)
    changed = {"objects": objects, "places": batch["places"].masked_fill(strange_B, -1)}
    if "lights" in batch:
        changed["lights"] = batch["lights"].masked_fill(strange_B, -1)
    if "garments" in batch:
        worn = batch["garments"] > ANY_COLOUR
        changed["garments"] = torch.where(strange_B[:, None, None] & worn, ANY_COLOUR, batch["garments"])
    return batch | changed


def _sign_positions(rows: Rows) -> list[int]:
    """The positions in the data order that come with an extra sign."""
    return [position for position in rows.positions.tolist() if position % SIGNS == 0]


def _stacked(pictures: Sequence[Picture]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _scene(facts: object, key: str) -> Scene:
    if not isinstance(facts, Scene):
        raise DataError(f"the judge learns from pictures with known facts; {key} has none (use world:small).")
    return facts

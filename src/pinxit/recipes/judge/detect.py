"""Decodes the detector's outputs into detections: names, boxes and attributes as plain values."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pinxit.functional.boxes import Box, Detection, Detections, suppress
from pinxit.functional.detection import peaks
from pinxit.models.detector import Detector, DetectorConfig, ObjectPredictions, PicturePredictions
from pinxit.models.letter_reader import spelled
from pinxit.recipes.judge.gallery_losses import BOARDS, board_of
from pinxit.recipes.judge.targets import flat_forms

FAINT = 0.05  # least score of a detection that is reported
MOST_FOUND = 24  # most detections in one picture
SAME = 0.6  # IoU above which two detections of one name are taken for the same object (non-maximum suppression)
WORN = 0.5  # least probability of a garment that is reported
UNSURE = 0.05  # least probability of a relation that is reported
LEGIBLE = 0.2  # least score of a detection whose words are read


class RawDetections(NamedTuple):
    """Detections of all pictures, before they are described: one row each."""

    picture: Tensor  # int64 [M]
    name: Tensor  # int64 [M]
    cell: Tensor  # int64 [M]
    score: Tensor  # [M]


@torch.no_grad()
def detect(detector: Detector, pictures_B3HW: Tensor) -> list[Detections]:
    """The detections in each picture, float [B, 3, S, S] in [0, 1] of the detector's own size."""
    config, output = detector.config, detector(pictures_B3HW)
    score, name, cell = peaks(output.heat, MOST_FOUND)
    picture_M, place_M = (score >= FAINT).nonzero(as_tuple=True)
    spotted = RawDetections(picture_M, *(part[picture_M, place_M] for part in (name, cell, score)))
    here: list[list[Detection]] = [[] for _ in pictures_B3HW]
    for picture, one in zip(picture_M.tolist(), _detections(detector, pictures_B3HW, output, spotted), strict=True):
        here[picture].append(one)
    grounds = [config.places[i] for i in _said(output.place)] if config.places else [None] * len(here)
    views, lights = (_or_none(*head) for head in ((output.view, config.views), (output.light, config.lights)))
    attributes = attributes_of(config)
    return [
        Detections(tuple(suppress(ones, SAME)), place, view, light, attributes)
        for ones, place, view, light in zip(here, grounds, views, lights, strict=True)
    ]


def attributes_of(config: DetectorConfig) -> frozenset[str]:
    """What this detector reports besides names, boxes, colours, flat forms, styles and grounds."""
    heads = {
        "material": config.materials,
        "outfit": config.garments,
        "link": config.links,
        "view": config.views,
        "light": config.lights,
        "words": config.letters,
        "shape": config.forms[flat_forms(config) :],
    }
    return frozenset(sense for sense, words in heads.items() if words)


def _detections(
    detector: Detector, pictures: Tensor, output: PicturePredictions, spotted: RawDetections
) -> list[Detection]:
    config, score_M = detector.config, spotted.score.tolist()
    described = detector.describe(output, spotted.picture, spotted.name, spotted.cell)
    boxes = _boxes(config, spotted.cell, described)
    names = [config.names[i] for i in spotted.name.tolist()]
    outfits = _outfits(detector, output, spotted, described)
    words = _words(detector, pictures, spotted, names, boxes)
    colours, forms = _said(described.colour), _said(described.form)
    styles, materials = _or_none(described.style, config.styles), _or_none(described.material, config.materials)
    does, undergoes = _surely(config, described.does), _surely(config, described.undergoes)
    return [
        Detection(
            names[i],
            box,
            score_M[i],
            config.colours[colours[i]] if colours else None,
            config.forms[forms[i]] if forms else None,
            styles[i],
            materials[i],
            outfits[i],
            words.get(i),
            does[i],
            undergoes[i],
        )
        for i, box in enumerate(boxes)
    ]


def _boxes(config: DetectorConfig, cell_M: Tensor, described: ObjectPredictions) -> list[Box]:
    corner = torch.stack([cell_M % config.grid, cell_M // config.grid], 1)
    middle = (corner + 0.5 + described.offset) / config.grid
    half = described.extent.exp() / 2
    rows = torch.cat([middle - half, middle + half], 1).clamp(0, 1).tolist()
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in rows]


def _outfits(
    detector: Detector, output: PicturePredictions, spotted: RawDetections, described: ObjectPredictions
) -> list[tuple[tuple[str, str], ...]]:
    """For each detection the (colour, garment) pairs that it wears."""
    config = detector.config
    result: list[tuple[tuple[str, str], ...]] = [()] * len(spotted.cell)
    worn = described.worn.sigmoid() >= WORN
    dressed = worn.any(1).nonzero()[:, 0]
    if not len(dressed):
        return result
    some = ObjectPredictions(*(part[dressed] for part in described))
    colours = detector.dress(output, spotted.picture[dressed], spotted.cell[dressed], some).argmax(2).tolist()
    for i, here, wears in zip(dressed.tolist(), colours, worn[dressed].tolist(), strict=True):
        result[i] = tuple(
            (config.colours[colour], garment)
            for garment, colour, there in zip(config.garments, here, wears, strict=True)
            if there
        )
    return result


def _words(
    detector: Detector, pictures: Tensor, spotted: RawDetections, names: list[str], boxes: list[Box]
) -> dict[int, str]:
    """The words read on detections that can carry any, by their rows."""
    readable = [i for i, name in enumerate(names) if name in BOARDS and spotted.score[i] >= LEGIBLE]
    if detector.reader is None or not readable:
        return {}
    boards = torch.stack([board_of(names[i], pictures.new_tensor(boxes[i])) for i in readable])
    logits = detector.reader(pictures, spotted.picture[readable], boards)
    return dict(zip(readable, spelled(logits, detector.config.letters), strict=True))


def _surely(config: DetectorConfig, logits_ML: Tensor) -> list[tuple[tuple[str, float], ...]]:
    return [
        tuple((link, sure) for link, sure in zip(config.links, row, strict=True) if sure >= UNSURE)
        for row in logits_ML.sigmoid().tolist()
    ]


def _said(logits_MC: Tensor) -> list[int]:
    answers: list[int] = logits_MC.argmax(1).tolist() if logits_MC.shape[1] else []
    return answers


def _or_none(logits_MC: Tensor, words: tuple[str, ...]) -> list[str | None]:
    """The likeliest word of each row; answer 0 means none of them."""
    answers = _said(logits_MC) or [0] * len(logits_MC)
    return [words[i - 1] if i else None for i in answers]

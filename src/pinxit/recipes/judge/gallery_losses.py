"""Losses of the attributes that only some judges report: materials, garments, links, views, lights, words.

A link is a relation between two objects, such as riding. Shapes: B pictures, O rows for one picture's objects, M
objects of all pictures together, G garments, L links.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pinxit.functional.draws import Draws
from pinxit.models.detector import Detector, ObjectPredictions, PicturePredictions
from pinxit.models.letter_reader import BLANK
from pinxit.recipes.judge.targets import ANY_COLOUR, NOT_WORN, Objects
from pinxit.training.plan import Batch

BOARDS = {"sign": (0.0, 0.05, 1.0, 0.61), "storefront": (-0.01, 0.02, 1.01, 0.32)}
"""The lettered area of an object (x0, y0, x1, y1 as shares of its box), with a little margin."""
SHAKEN = 0.015  # jitter of a board's edges in training: standard deviation, in sides of the picture


def answer_loss(logits: Tensor, answer: Tensor, ruled_out: Tensor) -> Tensor:
    """Binary cross-entropy in nats, summed over the possible answers; the mean over rows whose answer is not -1.

    logits [M, answers], answer int64 [M], ruled_out bool [M, answers]; 0 when no row counts. Answers that are ruled
    out cost nothing. (With a softmax, the logits of all colours that lamps are shown in would grow together and rise
    above those of the colours that they are never shown in.)
    """
    truth = F.one_hot(answer.clamp(min=0), logits.shape[1]).float()
    return flags_loss(logits, truth, ruled_out, answer >= 0)


def flags_loss(logits: Tensor, truth: Tensor, ruled_out: Tensor, known: Tensor) -> Tensor:
    """`answer_loss` where any number of answers may be true: all [M, answers]; `known` bool [M]: which rows count."""
    cost = F.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none")
    return (cost * (known[:, None] & ~ruled_out)).sum() / known.sum().clamp(min=1)


def gallery_loss(
    model: Detector,
    output: PicturePredictions,
    described: ObjectPredictions,
    true: Objects,
    cell_M: Tensor,
    named_M: Tensor,
    truth: Batch,
) -> dict[str, Tensor]:
    """The losses of the heads that the config has, by name.

    `named_M` is False for objects in faced pictures (`functional.corruption.faced`): of those only the view counts.
    """
    config, parts = model.config, {}

    def of(name: str) -> Tensor:
        return truth[name][true.picture, true.row]

    if config.materials:
        answer = of("materials").masked_fill(~named_M, -1)
        parts["material"] = answer_loss(described.material, answer, of("unshown_materials"))
    if config.garments:
        worn = of("garments")
        parts["worn"] = flags_loss(described.worn, worn != NOT_WORN, of("unshown_garments"), named_M)
        dressed_M = ((worn > ANY_COLOUR).any(1) & named_M).nonzero()[:, 0]
        some = type(described)(*(part[dressed_M] for part in described))
        colours = model.dress(output, true.picture[dressed_M], cell_M[dressed_M], some)
        ruled_out = of("unshown_garment_colours")[dressed_M].flatten(0, 1)
        parts["garment"] = answer_loss(colours.flatten(0, 1), (worn[dressed_M] - 1).clamp(min=-1).flatten(), ruled_out)
    if config.links:
        does = torch.cat([described.does, described.undergoes], 1)
        parts["links"] = flags_loss(does, of("links").flatten(1), of("unshown_links").flatten(1), named_M)
    if config.views:
        parts["view"] = answer_loss(output.view, truth["views"], truth["unshown_views"])
    if config.lights:
        parts["light"] = answer_loss(output.light, truth["lights"], truth["unshown_lights"])
    return parts


def board_of(name: str, box: Tensor) -> Tensor:
    """The lettered area of an object called `name` in `box`; both (x0, y0, x1, y1), [4]."""
    low, high = box[:2], box[2:]
    edges = box.new_tensor(BOARDS[name])
    return torch.cat([low + edges[:2] * (high - low), low + edges[2:] * (high - low)])


def letters_loss(
    model: Detector, pictures: Tensor, signs: Tensor, truth: Batch, hidden_B: Tensor, draws: Draws, others: Draws
) -> Tensor:
    """CTC loss, in nats a letter, of the words in the pictures that are not `hidden` (bool [B]) and on the `signs`.

    The boards are jittered, those in pictures by `draws` and those on signs by `others`.
    """
    assert model.reader is not None
    readable = (truth["words"][:, :, 0] > 0) & ~hidden_B[:, None]
    picture_M, row_M = readable.nonzero(as_tuple=True)
    names = [model.config.names[i] for i in truth["objects"][picture_M, row_M, 0].long().tolist()]
    boxes = truth["objects"][picture_M, row_M, 1:5]
    boards = [board_of(name, box) for name, box in zip(names, boxes, strict=True)]
    words = truth["words"][picture_M, row_M]
    moves_M4 = draws.normal(*readable.shape, 4)[picture_M, row_M]
    if len(signs):
        boards += list(truth["sign_boards"])
        words = torch.cat([words, truth["sign_words"]])
        moves_M4 = torch.cat([moves_M4, others.normal(len(signs), 4)])
        picture_M = torch.cat([picture_M, len(pictures) + torch.arange(len(signs), device=picture_M.device)])
    if not boards:
        return pictures.new_zeros(())
    jittered = torch.stack(boards) + SHAKEN * moves_M4
    log_p_TML = model.reader(torch.cat([pictures, signs]), picture_M, jittered)
    lengths = (words > 0).sum(1)
    steps = torch.full_like(lengths, len(log_p_TML))
    cost = F.ctc_loss(log_p_TML, words, steps, lengths, BLANK, reduction="none")
    return (cost / lengths).mean()

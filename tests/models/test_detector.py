"""The detector: shapes, reading single objects, refusals, and that it learns eight pictures by heart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pinxit.config import from_dict, to_dict
from pinxit.errors import UsageError
from pinxit.models.detector import Detector, DetectorConfig

SMALL = DetectorConfig(
    names=("fox", "cat", "star"),
    colours=("red", "green"),
    forms=("circle",),
    styles=("sketch",),
    places=("white", "snow", "beach"),
    size=32,
    widths=(16, 24, 32),
    blocks=(1, 1, 1),
    neck=16,
)


def small(config: DetectorConfig = SMALL) -> Detector:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Detector(config).eval()


def test_shapes_and_config_round_trip() -> None:
    assert from_dict(DetectorConfig, to_dict(SMALL)) == SMALL
    model = small()
    found = model(torch.rand(2, 3, 32, 32))
    assert found.heat.shape == (2, 3, 8, 8) and found.features.shape == (2, 16, 8, 8) and found.place.shape == (2, 3)
    told = model.describe(found, *torch.tensor([[0, 1, 1], [2, 0, 2], [0, 63, 5]]))
    assert [part.shape for part in told] == [(3, 2), (3, 2), (3, 2), (3, 1), (3, 2), *[(3, 0)] * 4]
    blind = small(DetectorConfig(names=("fox",), size=32, widths=(16,), blocks=(0,), neck=16))
    assert blind(torch.rand(1, 3, 32, 32)).place.shape == (1, 0)


def test_untrained_it_finds_next_to_nothing() -> None:
    heat = small()(torch.rand(4, 3, 32, 32)).heat.sigmoid()
    assert heat.median().item() == pytest.approx(0.01, abs=0.005) and heat.max() < 0.3


def test_describing_reads_the_named_cell_alone() -> None:
    model = small()
    generator = torch.Generator().manual_seed(1)
    found = model(torch.rand(2, 3, 32, 32, generator=generator))
    features = torch.randn(2, 16, 8, 8, generator=generator)
    where = (torch.tensor([1]), torch.tensor([2]), torch.tensor([13]))
    before = model.describe(found._replace(features=features), *where)
    elsewhere = features.clone()
    elsewhere[0] += 1
    elsewhere[1, :, 0] += 1
    torch.testing.assert_close(model.describe(found._replace(features=elsewhere), *where).extent, before.extent)
    there = features.clone()
    there[1, :, 1, 5] += 1  # cell 13 is row 1, column 5
    assert (model.describe(found._replace(features=there), *where).extent - before.extent).abs().max() > 1e-3
    other_name = model.describe(found._replace(features=features), where[0], torch.tensor([0]), where[2])
    assert (other_name.extent - before.extent).abs().max() > 1e-3


def test_a_colour_is_read_from_pixels_whatever_shows_it() -> None:
    """In a picture of one colour every object has that colour, whatever the network takes it for."""
    model = small()
    red, blue = torch.eye(3)[[0, 2]].view(2, 1, 3, 1, 1).expand(2, 1, 3, 32, 32)
    one, other = model(red), model(blue)
    where = torch.tensor([[0, 0, 0], [0, 1, 2], [0, 27, 63]])
    colours = model.describe(one, *where).colour
    torch.testing.assert_close(colours, colours[:1].expand(3, -1), atol=1e-5, rtol=1e-5)
    strange = one._replace(features=torch.randn(one.features.shape, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(model.describe(strange, *where).colour, colours, atol=1e-5, rtol=1e-5)
    assert (model.describe(other, *where).colour - colours).abs().max() > 1e-3


def test_a_picture_is_judged_alone() -> None:
    model, pictures = small(), torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    together, alone = model(pictures), model(pictures[1:2])
    torch.testing.assert_close(together.heat[1:2], alone.heat, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.place[1:2], alone.place, atol=1e-5, rtol=1e-5)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="multiple of 16"):
        DetectorConfig(names=("fox",), size=40)
    with pytest.raises(UsageError, match="2 widths but 1"):
        DetectorConfig(names=("fox",), widths=(8, 8), blocks=(1,))


def test_garments_are_read_from_pixels_where_each_is_looked_for() -> None:
    """In a picture of one colour every garment has it; in one of two, those looked for above and below differ."""
    model = small(replace(SMALL, garments=("hat", "boots")))
    assert model.palette is not None and model.palette.ask_garments is not None
    asked = model.palette.ask_garments.bias.detach().view(2, -1)
    asked[:, -1], asked[:, -3] = torch.tensor([-3.0, 3.0]), 4.0  # the hat high, the boots low, both close to there
    pictures = torch.eye(3)[[0, 2]].view(2, 3, 1, 1).expand(2, 3, 32, 32).clone()
    both = torch.cat([pictures[:1, :, :16], pictures[1:, :, 16:]], 2)
    found = model(torch.cat([pictures, both]))
    where = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0]), torch.tensor([27, 27, 36])
    told = model.describe(found, *where)
    told = told._replace(extent=torch.zeros(3, 2), offset=torch.zeros(3, 2))
    red, blue, mixed = model.dress(found, where[0], where[2], told)
    torch.testing.assert_close(red[0], red[1], atol=1e-4, rtol=1e-4)
    assert (red[0] - blue[0]).abs().max() > 1e-3
    assert (mixed[0] - red[0]).abs().max() < 0.3 * (mixed[0] - blue[0]).abs().max()
    assert (mixed[1] - blue[1]).abs().max() < 0.3 * (mixed[1] - red[1]).abs().max()

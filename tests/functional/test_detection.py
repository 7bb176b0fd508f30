"""Boxes, heat maps and their peaks, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pinxit.functional.boxes import Detection, area, iou, suppress
from pinxit.functional.detection import heat_loss, heat_targets, peaks


def test_area_and_overlap() -> None:
    assert area((0.2, 0.2, 0.6, 0.7)) == pytest.approx(0.2)
    assert area((0.6, 0.2, 0.2, 0.7)) == 0
    assert iou((0, 0, 0.4, 0.4), (0.2, 0, 0.6, 0.4)) == pytest.approx(0.08 / 0.24)
    assert iou((0, 0, 0.1, 0.1), (0.5, 0.5, 0.6, 0.6)) == 0
    assert iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_suppression_keeps_the_surest_of_each_name() -> None:
    weak, sure = Detection("cat", (0, 0, 0.5, 0.5), 0.6), Detection("cat", (0.02, 0, 0.52, 0.5), 0.9)
    other, apart = Detection("fox", (0, 0, 0.5, 0.5), 0.5), Detection("cat", (0.5, 0.5, 0.9, 0.9), 0.3)
    assert suppress([weak, other, apart, sure], 0.6) == [sure, other, apart]


def test_targets_are_one_at_the_centre_and_fall_off_as_a_gaussian() -> None:
    place = torch.tensor([[1, 2, 0]])
    target = heat_targets((2, 3, 4, 5), place, torch.tensor([[3.7, 1.2]]), torch.tensor([0.8]))
    assert target[1, 2, 1, 3] == 1 and (target == 1).sum() == 1
    assert target[1, 2, 1, 4].item() == pytest.approx(math.exp(-1 / (2 * 0.64)))
    assert target[1, 2, 2, 2].item() == pytest.approx(math.exp(-2 / (2 * 0.64)))
    assert target[0].sum() == 0 and target[1, :2].sum() == 0


def test_where_bumps_meet_the_higher_one_counts() -> None:
    place, centre, sigma = torch.tensor([[0, 0, 0]] * 2), torch.tensor([[0.5, 0.5], [2.5, 0.5]]), torch.tensor([1.0, 1])
    target = heat_targets((1, 1, 1, 4), place, centre, sigma)
    one = math.exp(-0.5)
    torch.testing.assert_close(target[0, 0, 0], torch.tensor([1, one, 1, one]))


def test_heat_loss_by_hand() -> None:
    """One cell with a centre at p = 0.5, one near it (target 0.5) and one far away, both at p = 0.25."""
    logit = math.log(0.25 / 0.75)
    loss = heat_loss(torch.tensor([[[[0.0, logit, logit]]]]), torch.tensor([[[[1.0, 0.5, 0.0]]]]), 2)
    miss = -math.log(0.75) * 0.25**2
    assert loss.item() == pytest.approx((-math.log(0.5) * 0.25 + miss * 0.5**4 + miss) / 2, abs=1e-6)


def test_heat_loss_is_zero_for_a_perfect_map_and_finite_for_extreme_logits() -> None:
    target = torch.tensor([[[[1.0, 0.3, 0.0]]]])
    assert heat_loss(torch.tensor([[[[50.0, -50, -50]]]]), target, 1).item() == pytest.approx(0, abs=1e-6)
    assert heat_loss(torch.tensor([[[[-500.0, 500, 500]]]]), target, 1).isfinite()


def test_peaks_are_local_maxima_in_order_of_score() -> None:
    heat = torch.full((1, 2, 4, 4), -9.0)
    heat[0, 0, 1, 1], heat[0, 0, 1, 2], heat[0, 1, 3, 3] = 2.0, 1.5, 1.0  # the second stands beside a higher one
    score, name, cell = peaks(heat, 2)
    torch.testing.assert_close(score[0], torch.tensor([2.0, 1.0]).sigmoid())
    assert name.tolist() == [[0, 1]] and cell.tolist() == [[5, 15]]


def test_boxes_that_overlap_by_just_as_much_as_they_may_both_stay() -> None:
    whole, half = Detection("cat", (0, 0, 1, 1), 0.9), Detection("cat", (0, 0, 0.5, 1), 0.8)
    assert suppress([whole, half], 0.5) == [whole, half] and suppress([whole, half], 0.49) == [whole]
    assert area((0.2, 0.7, 0.6, 0.2)) == 0


def test_cells_that_do_not_count_cost_nothing_and_no_object_divides_by_one() -> None:
    logits, target = torch.tensor([[[[0.5, -1.0, 2.0]]]]), torch.tensor([[[[1.0, 0.5, 0.0]]]])
    cells = [heat_loss(logits, target, 0, torch.arange(3) == place) for place in range(3)]
    whole = heat_loss(logits, target, 1)
    torch.testing.assert_close(sum(cells), whole)
    assert all(cell > 0 for cell in cells) and heat_loss(logits, target, 4).item() == pytest.approx(whole.item() / 4)

"""Calls side by side, a thread of computing each."""

from __future__ import annotations

import threading

import pytest
import torch

from pinxit.pipelines.lanes import Lanes, tile_of

CPU = torch.device("cpu")


def test_every_lane_computes_with_one_thread_and_the_caller_as_before() -> None:
    """A thread's first question once set its number to the process's, so that each lane used all cores."""
    before = torch.get_num_threads()
    lanes = Lanes(CPU, 3)

    def threads() -> int:
        torch.ones(300, 300) @ torch.ones(300, 300)
        return torch.get_num_threads()

    assert lanes.run([threads] * 6) == [1] * 6
    assert torch.get_num_threads() == before
    assert Lanes(CPU).count == before


def test_calls_run_at_the_same_time_and_answer_in_their_order() -> None:
    met = threading.Barrier(2, timeout=20)
    assert Lanes(CPU, 2).run([lambda: (met.wait(), "a")[1], lambda: (met.wait(), "b")[1]]) == ["a", "b"]


def test_the_first_error_comes_when_all_have_ended() -> None:
    ended: list[int] = []

    def fails() -> None:
        raise ArithmeticError("one")

    with pytest.raises(ArithmeticError, match="one"):
        Lanes(CPU, 2).run([fails, lambda: ended.append(1), lambda: ended.append(2)])
    assert sorted(ended) == [1, 2]


def test_a_fork_has_lanes_of_its_own() -> None:
    """It waited forever for the threads of its parent."""
    lanes = Lanes(CPU, 2)
    assert lanes.pool is not None
    lanes.pool.shutdown()  # as a fork finds it: its threads have ended
    lanes.process -= 1
    assert lanes.run([lambda: 1, lambda: 2]) == [1, 2] == lanes.run([lambda: 1, lambda: 2])


def test_a_gpu_has_one_lane_and_larger_tiles() -> None:
    gpu = torch.device("cuda", 0)
    lanes = Lanes(gpu)
    assert lanes.count == 1 and lanes.run([lambda: threading.current_thread()]) == [threading.current_thread()]
    assert tile_of(gpu, 2) == 16 and tile_of(CPU, 2) == 2

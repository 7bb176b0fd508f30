"""The loop around every stepper: slots kept full, results in order, nothing left behind."""

from __future__ import annotations

import pytest

from pinxit.pipelines.stepper import run


class Countdown:
    """A stepper that finishes a request n after n steps and gives back -n."""

    def __init__(self, slots: int) -> None:
        self.left: list[int | None] = [None] * slots
        self.asked: dict[int, int] = {}
        self.steps = 0

    @property
    def free(self) -> int:
        return self.left.count(None)

    def admit(self, request: int) -> int:
        slot = self.left.index(None)
        self.left[slot] = self.asked[slot] = request
        return slot

    def step(self) -> None:
        self.steps += 1
        self.left = [None if n is None else n - 1 for n in self.left]

    def collect(self) -> list[tuple[int, int]]:
        done = [(slot, -self.asked[slot]) for slot, n in enumerate(self.left) if n == 0]
        for slot, _ in done:
            self.cancel(slot)
        return done

    def cancel(self, slot: int) -> None:
        assert self.left[slot] is not None
        self.left[slot] = None

    def progress(self, slot: int) -> float:
        return 1 - (self.left[slot] or 0) / self.asked[slot]


def test_results_come_in_the_order_of_requests() -> None:
    stepper = Countdown(2)
    assert run(stepper, [5, 1, 1, 3]) == [-5, -1, -1, -3]
    assert stepper.steps == 5  # 5 | 1 1 3: a slot is filled again as soon as it is free
    assert stepper.free == 2


def test_nothing_asked_nothing_done() -> None:
    stepper = Countdown(2)
    assert run(stepper, []) == []
    assert stepper.steps == 0


def test_watch_sees_who_is_at_work() -> None:
    seen: list[dict[int, int]] = []
    run(Countdown(2), [2, 1, 2], lambda at_work: seen.append(dict(at_work)))
    assert seen == [{0: 0}, {1: 2}, {}]


def test_an_early_end_frees_the_slots() -> None:
    stepper = Countdown(3)

    def stop(at_work: dict[int, int]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stepper, [4, 4, 4, 4], stop)
    assert stepper.free == 3
    assert run(stepper, [2]) == [-2]

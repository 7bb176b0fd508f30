"""When a run stops early, and when it has gone wrong too often."""

from __future__ import annotations

import signal
import threading
from types import SimpleNamespace

import pytest

from pinxit.errors import PinxitError
from pinxit.training import stop as module
from pinxit.training.state import Progress
from pinxit.training.step import PATIENCE, _skip, check_worth
from pinxit.training.stop import Stop
from tests.training.toy import plan


def test_the_first_signal_asks_and_only_a_second_ctrl_c_interrupts() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for first in (signal.SIGINT, signal.SIGTERM):
        stop = Stop()
        assert not stop.due()
        with stop.listening():
            signal.raise_signal(first)
            assert stop.signalled and stop.due() and not stop.late()
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_hears_no_signals_and_takes_none_away() -> None:
    def listen() -> None:
        with Stop().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen: list[object] = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_minutes_are_counted_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    stop, endless = Stop(minutes=2), Stop()
    for now, late in ((219.9, False), (220.0, True), (1e9, True)):
        clock.append(now)
        assert (stop.late(), stop.due()) == (late, late) and not endless.due()
    assert not stop.signalled


@pytest.mark.parametrize(("images", "few"), [(80, 1), (8, 1), (400, 5), (472, 5)])
def test_a_tenth_of_a_run_may_be_bad_at_its_end(images: int, few: int) -> None:
    check_worth(Progress(images, 1, few, few), plan(images=images), "toy")
    with pytest.raises(PinxitError, match=f"toy: .* in the last {few + 1} batches"):
        check_worth(Progress(images, 1, few + 1, few + 1), plan(images=images), "toy")
    with pytest.raises(PinxitError, match="in the last 0 batches"):
        check_worth(Progress(images), plan(images=images), "toy")


def test_patience_ends_at_the_fiftieth_bad_batch_in_a_row() -> None:
    at = Progress(images=400, updates=3, skipped=60, skipped_in_row=PATIENCE - 2)
    _skip(at, "toy")
    assert (at.skipped, at.skipped_in_row) == (61, 49)
    with pytest.raises(PinxitError, match="not finite 50 batches in a row, at image 400"):
        _skip(at, "toy")

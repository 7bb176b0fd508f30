"""What a run tells of itself: lines for programs and for people, and how long is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pinxit.training import log as module
from pinxit.training import loop
from pinxit.training.flops import Cost
from pinxit.training.log import METRICS, QUIET, Log, Meter, duration, read_metrics
from pinxit.training.parallel import Ranks
from pinxit.training.state import Progress
from tests.training.toy import plan

SPEED = {"loss": 0.123456789, "pictures_per_s": 7.4}


def test_lines_for_people_come_seldom_and_say_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time is counted from where this invocation began: forty of the images were seen before it."""
    now = 1.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    with Log(tmp_path, "toy", 100, 40) as log:
        for passed, images in ((10.0, 60), (19.9, 70), (20.0, 80), (21.0, 100), (22.0, 108)):
            now = 1.0 + passed
            log.line(images, SPEED | {"share": 0.5 if images == 60 else 0.0, "zero_shot": 0.25})
    assert capsys.readouterr().err.splitlines() == [
        "toy: 60 of 100 images, loss 0.1235, 7 pictures/s, 50% of the matrix rate, zero-shot 25.0%, 20 s left",
        "toy: 80 of 100 images, loss 0.1235, 7 pictures/s, zero-shot 25.0%, 10 s left",
        "toy: 100 of 100 images, loss 0.1235, 7 pictures/s, zero-shot 25.0%, 0 s left",
        "toy: 108 of 100 images, loss 0.1235, 7 pictures/s, zero-shot 25.0%, 0 s left",
    ]
    lines = read_metrics(tmp_path)
    assert [line["images"] for line in lines] == [60, 70, 80, 100, 108] and lines[0]["loss"] == 0.123457


def test_who_waits_for_data_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Speeds are those of the updates alone; the screen tells of waiting where it is notable."""
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: 1e3 * now))

    def made() -> Iterator[int]:
        nonlocal now
        for number in range(4):
            now += 0.5
            yield number

    meter = Meter()
    with Log(tmp_path, "toy", 100, 0) as log:
        for number in meter.timing(made()):
            now += 20.0
            assert meter.waited == 0.5 * (1 + number % 2)
            if number % 2:
                meter.read()
                log.line(number, SPEED | {"waiting": 0.0999 if number == 1 else 0.1})
    first, second = capsys.readouterr().err.splitlines()
    assert "waiting" not in first and "7 pictures/s, 10% of the time spent waiting for batches" in second


def test_the_first_line_is_shown_at_once_and_others_are_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    for folder, show, keep in (("one", True, True), ("quiet", False, True), ("other rank", True, False)):
        (tmp_path / folder).mkdir()
        with Log(tmp_path / folder, folder, 100, 0, show, keep) as log:
            log.say("begins")
            for images in (10, 20):
                log.line(images, SPEED | {"loss": float("inf")})
        assert (tmp_path / folder / METRICS).is_file() == keep
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "one: begins" and told[1].startswith("one: 10 of 100 images, loss inf") and len(told) == 2
    assert read_metrics(tmp_path / "quiet")[1] == {"stage": "quiet", "images": 20, "loss": None, "pictures_per_s": 7.4}
    assert QUIET > 0


def test_lines_past_the_last_save_are_made_again_and_those_before_are_kept(tmp_path: Path) -> None:
    kept = [f'{{"stage": "toy", "images": {images}}}\n' for images in (8, 16)]
    for after in ('{"stage": "toy", "images": 24}\n', '{"stage": "toy", "ima', '{"stage": "toy"}\n', "[]\n"):
        (tmp_path / METRICS).write_text("".join(kept) + after)
        Log(tmp_path, "toy", 100, 16, keep=False)
        assert (tmp_path / METRICS).read_text() == "".join(kept) + after
        Log(tmp_path, "toy", 100, 16)
        assert (tmp_path / METRICS).read_text() == "".join(kept)
    before = (tmp_path / METRICS).stat().st_mtime_ns
    Log(tmp_path, "toy", 100, 16)
    assert (tmp_path / METRICS).stat().st_mtime_ns == before
    Log(tmp_path, "toy", 100, 0)
    assert (tmp_path / METRICS).read_text() == ""
    Log(tmp_path / "new", "toy", 100, 0)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2.0 h"),
        (72 * 3600 - 1, "72.0 h"),
        (72 * 3600, "3 days"),
        (2 * 365 * 86400 - 1, "730 days"),
        (2 * 365 * 86400, "2 years"),
        (5000 * 365 * 86400, "5,000 years"),
    ],
)
def test_durations_change_their_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_waiting_is_a_share_of_all_the_time_and_speed_is_that_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "matrix_rate", lambda dtype, kind: 64e9)
    meter, at = Meter(), Progress(images=800, seconds=12.0)
    meter.count, meter.waited = 4, 6.0
    found = loop._speed(at, meter, Cost(1, 1e9, 0.0), plan(), Ranks(), 10.0)
    wanted = {"pictures_per_s": 16.0, "gflops_per_s": 16.0, "share": 0.25, "waiting": 0.75, "seconds": 12.0}
    assert wanted.items() <= found.items()

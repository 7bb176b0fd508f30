"""What stands between pinxit and Ray, without Ray: whose words stdout carries, and what is told of an error."""

from __future__ import annotations

import sys
import threading
from contextlib import redirect_stdout
from typing import Any, TextIO, cast

import pytest

from pinxit import cluster
from pinxit.cli.console import print_lines
from pinxit.cluster import TURNS
from pinxit.errors import PinxitError, UsageError


class Ray:
    """Starts a cluster at the last try, or never."""

    def __init__(self, fails: int) -> None:
        self.fails, self.asked, self.ended = fails, list[dict[str, Any]](), 0

    def init(self, **how: Any) -> None:
        self.asked.append(how)
        if len(self.asked) <= self.fails:
            raise Exception("the node\ntimed out")  # as Ray does

    def shutdown(self) -> None:
        self.ended += 1


def test_what_other_threads_print_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stdout(cast("TextIO", cluster._SingleThreadStream(sys.stdout))):
        other = threading.Thread(target=print, args=("of Ray's",))
        other.start()
        other.join()
        print_lines("ours")
    print("after")
    assert capsys.readouterr() == ("ours\nafter\n", "of Ray's\n")


def test_what_ray_says_at_the_end_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = Ray(0)
    monkeypatch.setattr(ray, "shutdown", lambda: print("a worker died a while ago"))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(cluster, "check_installed", lambda: None)
    with cluster.connected() as found:
        assert found is ray
        print_lines("ours")
    print("after")
    assert capsys.readouterr() == ("ours\nafter\n", "a worker died a while ago\n")


def test_a_cluster_of_our_own_is_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    slow, dead = Ray(1), Ray(9)
    cluster._join(slow, {})
    assert [how["address"] for how in slow.asked] == ["local", "local"]
    assert slow.asked[0]["object_store_memory"] == cluster.OBJECTS
    with pytest.raises(PinxitError, match="no Ray cluster can be joined: the node timed out"):
        cluster._join(dead, {})
    assert dead.ended == len(dead.asked) == cluster.TRIES
    monkeypatch.setenv("RAY_ADDRESS", "there:1")
    other = Ray(1)
    with pytest.raises(PinxitError):
        cluster._join(other, {"log_to_driver": True})
    assert other.asked == [{"log_to_driver": True}], "what another cluster has is not said again"


@pytest.mark.parametrize(
    ("rows", "processes", "most", "found"),
    [
        (1, 1, 64, 1),
        (3, 2, 64, 1),
        (7, 1, 64, 1),
        (2 * TURNS * 3, 3, 64, 2),
        (2 * TURNS * 3 - 1, 3, 64, 1),
        (10**6, 8, 64, 64),
        (10**6, 8, 1, 1),
    ],
)
def test_every_process_has_some(rows: int, processes: int, most: int, found: int) -> None:
    assert cluster.rows_per_batch(rows, processes, most) == found


def test_the_cause_of_an_error_is_told() -> None:
    class TaskError(Exception):
        cause = UsageError("the prompt is empty: say what to paint.")

    assert cluster.cause_of(TaskError("a traceback")) is TaskError.cause
    try:
        raise RuntimeError("around") from ValueError("first\nthe last line")
    except RuntimeError as error:
        assert str(cluster.cause_of(error)) == "a process of the Ray cluster failed: the last line"

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinxit.data.pool import AHEAD, NICENESS, cores, parallel_map
from pinxit.errors import DataError, PinxitError


def scaled(job: int, task: int) -> tuple[int, int]:
    return job * task, os.getpid()


def manners(_job: None, _task: int) -> tuple[int, bool]:
    return os.nice(0), signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def failing(_job: None, task: int) -> int:
    if task == 3:
        raise DataError("item three is wrong.")
    return task


def dying(_job: None, task: int) -> int:
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def counted(taken: list[int], tasks: int) -> Iterator[int]:
    for task in range(tasks):
        taken.append(task)
        yield task


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_tasks(workers: int) -> None:
    results = list(parallel_map(scaled, 10, range(20), workers))
    assert [value for value, _ in results] == [10 * task for task in range(20)]
    assert all((process == os.getpid()) == (workers == 1) for _, process in results)


def test_few_tasks_are_handed_out_ahead() -> None:
    taken: list[int] = []
    results = parallel_map(scaled, 1, counted(taken, 100), 2)
    next(results)
    assert len(taken) <= 2 * AHEAD
    results.close()  # type: ignore[attr-defined]


def test_workers_are_nice_and_leave_ctrl_c_to_the_parent() -> None:
    before = os.nice(0)
    assert list(parallel_map(manners, None, range(2), 2)) == [(min(19, before + NICENESS), True)] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers: int) -> None:
    with pytest.raises(DataError, match="item three"):
        list(parallel_map(failing, None, range(10), workers))


def test_a_dead_worker_is_one_sentence() -> None:
    with pytest.raises(PinxitError, match="a worker process died"):
        list(parallel_map(dying, None, range(10), 2))


def test_no_tasks_need_no_process() -> None:
    assert list(parallel_map(scaled, 1, [], 0)) == []
    assert cores() >= 1


def test_workers_never_run_what_lies_in_the_working_directory(tmp_path: Path) -> None:
    """Neither while they start nor when they import: a data folder may hold a `types.py`."""
    for name in ("types", "pickle", "struct", "socket", "random", "csv"):
        (tmp_path / f"{name}.py").write_text("open('run', 'a').write(__name__)\nraise RuntimeError(__name__)\n")
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.with_name("work.py").write_text("def same(job: None, task: int) -> int:\n    return task\n")
    script.write_text(
        "from work import same\nfrom pinxit.data.pool import parallel_map\n"
        "if __name__ == '__main__':\n    print(len(list(parallel_map(same, None, range(3), 2))))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout == b"3\n" and not (tmp_path / "run").exists(), done.stderr
    for name in ("types", "pickle", "struct"):  # `python -m` itself has met these before it comes to pinxit
        (tmp_path / f"{name}.py").unlink()
    done = subprocess.run([sys.executable, "-m", "pinxit", "--version"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0 and not (tmp_path / "run").exists(), done.stderr

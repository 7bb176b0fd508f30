"""Prefetching: whoever makes the batches, they are the same and in order."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from pinxit.errors import DataError, PinxitError
from pinxit.training import prefetch as prefetching
from pinxit.training.parallel import Ranks
from pinxit.training.plan import Batch, Plan
from pinxit.training.prefetch import Pieces, Updates, in_processes, prefetch
from pinxit.training.rows import Rows
from tests.training.toy import Toy, plan

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class Noted(Toy):
    """Writes down which process makes each batch; early ones take longest."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def batch(self, rows: Rows) -> Batch:
        (self.folder / f"{rows.position}-{os.getpid()}").touch()
        time.sleep(0.1 if rows.position == 0 else 0)
        return super().batch(rows)


def same(made: list[list[tuple[Rows, Batch]]], settled: Plan) -> bool:
    expected = list(range(0, settled.images, settled.batch))
    task = Toy()
    return [pieces[0][0].first for pieces in made] == expected and all(
        torch.equal(batch[name], tensor)
        for pieces in made
        for rows, batch in pieces
        for name, tensor in task.batch(rows).items()
    )


def the_same_batches_in_the_same_order(tmp_path: Path) -> None:
    settled = plan(micro=4)
    updates = Updates(Noted(tmp_path), settled, Ranks(), range(0, settled.images, settled.batch))
    with in_processes(updates, 2, pin=False) as batches:
        made = list(batches)
    assert same(made, settled) and all(len(pieces) == 2 for pieces in made)
    by = {path.name.partition("-")[2] for path in tmp_path.iterdir()}
    assert len(by) == 2 and str(os.getpid()) not in by


class Failing(Toy):
    """Cannot make the third batch: a `PinxitError`, or the end of the process."""

    def __init__(self, dies: bool) -> None:
        super().__init__()
        self.dies = dies

    def batch(self, rows: Rows) -> Batch:
        if rows.position == 16:
            if self.dies:
                os._exit(9)
            raise DataError("picture 16 is gone.")
        return super().batch(rows)


def what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    """A death wherever it is noticed, as while a GPU computes; what else goes wrong there is told as it is."""
    settled = plan()
    noted = Updates(Noted(tmp_path), settled, Ranks(), range(0, settled.images, settled.batch))
    with pytest.raises(PinxitError, match="a process that makes batches died"), in_processes(noted, 2, False) as made:
        next(made)
        os.kill(int(next(tmp_path.iterdir()).name.partition("-")[2]), signal.SIGKILL)
        time.sleep(20)
    with pytest.raises(RuntimeError, match="of another kind"), in_processes(noted, 2, pin=False):
        raise RuntimeError("of another kind")
    for dies, sentence in ((False, r"^picture 16 is gone\.$"), (True, r"^a process that makes batches died[^\n]*$")):
        updates = Updates(Failing(dies), settled, Ranks(), range(0, settled.images, settled.batch))
        with pytest.raises(PinxitError, match=sentence), in_processes(updates, 2, pin=False) as made:
            list(made)


def they_leave_signals_to_their_parent_and_end_with_it(tmp_path: Path) -> None:
    settled = plan()
    updates = Updates(Noted(tmp_path), settled, Ranks(), range(0, settled.images, settled.batch))
    with in_processes(updates, 2, pin=False) as made:
        next(made)
        workers = {int(path.name.partition("-")[2]) for path in tmp_path.iterdir()}
        for worker in workers:
            os.kill(worker, signal.SIGINT)  # Ctrl-C, and what batch systems send: to all processes of a group
            os.kill(worker, signal.SIGTERM)
        for _ in range(14):  # more than had been made by then
            next(made)
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


class Hanging(Toy):
    """Its third batch never comes."""

    def batch(self, rows: Rows) -> Batch:
        time.sleep(600 if rows.position == 16 else 0)
        return super().batch(rows)


def one_that_hangs_is_ended(_tmp_path: Path) -> None:
    """Though it leaves SIGTERM to its parent, which would wait for it at its own end, for ever."""
    updates = Updates(Hanging(), plan(), Ranks(), range(0, 128, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)  # seconds in which it may end itself
        with in_processes(updates, 2, pin=False) as made:
            next(made)
            workers = multiprocessing.active_children()
    for worker in workers:
        worker.join(20)
    assert [worker.is_alive() for worker in workers] == [False, False]


FORKING = (
    the_same_batches_in_the_same_order,
    one_that_hangs_is_ended,
    they_leave_signals_to_their_parent_and_end_with_it,
    what_is_wrong_is_said_in_one_sentence,
)


@pytest.fixture(scope="module")
def in_a_process_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong in each: other tests' servers run in threads of this process, and a fork would disturb them."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.training.test_prefetch", str(tmp_path_factory.mktemp("prefetch"))],
        capture_output=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert made.returncode == 0, made.stderr.decode()
    told: dict[str, str] = json.loads(made.stdout)
    return told


@forks
@pytest.mark.parametrize("what", [one.__name__ for one in FORKING])
def test_processes(what: str, in_a_process_of_its_own: dict[str, str]) -> None:
    assert in_a_process_of_its_own[what] == ""


def tried(what: Callable[[Path], None], folder: Path) -> str:
    """Run it in a new folder; what went wrong."""
    folder.mkdir()
    try:
        what(folder)
    except BaseException:
        return traceback.format_exc()
    return ""


def test_threads_make_the_same_batches_in_the_same_order(tmp_path: Path) -> None:
    settled = plan(micro=4)
    with prefetch(Noted(tmp_path), settled, 0, settled.images, torch.device("cpu"), Ranks()) as batches:
        assert same(list(batches), settled)


def test_a_few_batches_are_made_ahead_and_no_more() -> None:
    """Or a slow model would fill the memory with them."""
    begun: list[int] = []

    class Pool:
        def submit(self, make: Callable[..., Pieces], updates: Updates, number: int, pin: bool) -> Future[Pieces]:
            begun.append(number)
            made = Future[Pieces]()
            made.set_result(make(updates, number, pin))
            return made

    pool: Any = Pool()
    updates = Updates(Toy(), plan(), Ranks(), range(0, 128, 8))
    for number, _ in enumerate(prefetching._stream(updates, torch.device("cpu"), pool, 3)):
        assert begun == list(range(min(16, number + 3)))


@pytest.mark.parametrize(("workers", "each"), [(6, 2), (5, 2), (20, 1)])
def test_processes_share_what_is_made_ahead(workers: int, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Loader:
        _workers = ()

        def __init__(self, updates: object, **how: object) -> None:
            asked.append((how["num_workers"], how["prefetch_factor"], how["pin_memory"]))

        def __iter__(self) -> Iterator[object]:
            return self

        def __next__(self) -> object:
            raise StopIteration

        def _shutdown_workers(self) -> None: ...

    monkeypatch.setattr(prefetching, "DataLoader", Loader)
    with in_processes(Updates(Toy(), plan(), Ranks(), range(0)), workers, pin=True) as batches:
        assert list(batches) == []
    assert asked == [(workers, each, True)]


if __name__ == "__main__":
    print(json.dumps({one.__name__: tried(one, Path(sys.argv[1]) / one.__name__) for one in FORKING}))

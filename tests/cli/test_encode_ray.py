"""Sidecars by Ray: the same files as without it, resumed where it stopped, also after a process is killed.

All but the slow test put a few lines here in place of Ray, which run the same worker in this process.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest

from pinxit import cluster
from pinxit.data.folders import FolderDataset
from pinxit.data.shard_writer import write_shards
from pinxit.errors import UsageError, install
from pinxit.locks import file_lock
from tests.cli.helpers import Cli
from tests.data.test_streams import spoil
from tests.processes import below
from tests.recipes.painters import save_random_checkpoint
from tests.recipes.squares import write_squares


class RayHere:
    """What `cluster.map_rows` asks of Ray and Ray Data; the worker is in this process."""

    exceptions = SimpleNamespace(RayError=RuntimeError)
    ActorPoolStrategy = SimpleNamespace

    def __init__(self) -> None:
        self.blocks, self.processes, self.lock = list[int](), list[int](), Path()

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    def nodes(self) -> list[dict[str, bool]]:
        return [{"Alive": True}, {"Alive": True}, {"Alive": False}]

    def from_items(self, rows: Sequence[dict[str, str]], override_num_blocks: int) -> RayHere:
        self.rows = rows
        self.blocks.append(override_num_blocks)
        return self

    def map_batches(self, worker: type, fn_constructor_kwargs: Any, compute: Any, **how: Any) -> RayHere:
        self.processes.append(compute.size)
        self.worker = worker(**fn_constructor_kwargs)
        return self

    def iter_rows(self) -> Iterator[dict[str, str]]:
        for row in self.rows:
            with (
                pytest.raises(UsageError, match="another command writes what clip says"),
                file_lock(self.lock, "what clip says"),
            ):
                pass
            done = self.worker({name: np.array([value], object) for name, value in row.items()})
            yield {name: values[0] for name, values in done.items()}


@pytest.fixture
def ray_here(monkeypatch: pytest.MonkeyPatch) -> RayHere:
    here = RayHere()
    monkeypatch.setattr(cluster, "check_installed", lambda: None)
    monkeypatch.setattr(cluster, "connected", lambda: nullcontext(here))
    monkeypatch.setattr(cluster, "quiet_data", lambda: here)
    return here


@pytest.fixture
def given(tmp_path: Path) -> Path:
    save_random_checkpoint(tmp_path / "painter")
    write_shards(FolderDataset(write_squares(tmp_path / "squares"), 32), tmp_path / "shards", per_shard=3, workers=1)
    spoil(tmp_path / "shards" / "00001.tar", "000000004.png")
    return tmp_path


def words(given: Path, out: Path, *more: object, shards: object = None, by: str = "clip") -> list[object]:
    of = shards or given / "shards"
    return ["data", "encode", of, "--with", by, "--model", given / "painter", "--out", out, *more]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_cluster_writes_what_one_process_writes(
    given: Path, cli: Cli, ray_here: RayHere, caplog: pytest.LogCaptureFixture
) -> None:
    out = given / "out"
    local, ray_here.lock = cli(*words(given, given / "local")), out / ".clip.lock"
    there = cli(*words(given, out, "--engine", "ray"))
    assert (there.code, there.out) == (0, local.out.replace("local", "out"))
    told = [line.getMessage() for line in caplog.records if line.module == "encode_ray"]
    assert len(told) == 1 and told[0].startswith("skipped 1: 00001.tar/000000004 (is not"), "by the command, not by Ray"
    assert digests(out) == digests(given / "local"), "sidecars, sidecars.json and nothing else"
    assert (ray_here.blocks, ray_here.processes) == ([3], [2]), "a shard at a time, a process a machine"
    (out / "00001.clip.safetensors").unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    assert cli(*words(given, out, "--engine", "ray", "--workers", 3)).out == there.out
    assert ray_here.processes[1:] == [3]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept and digests(out) == digests(given / "local")


def test_what_is_done_needs_no_cluster(given: Path, cli: Cli, ray_here: RayHere, monkeypatch: Any) -> None:
    local = cli(*words(given, given / "out"))
    monkeypatch.setattr(cluster, "connected", None)
    again = cli(*words(given, given / "out", "--engine", "ray"))
    assert (again.code, again.out) == (0, local.out)
    save_random_checkpoint(given / "painter", seed=1)
    other = cli(*words(given, given / "out", "--engine", "ray"))
    assert other.code == 1 and "00000.clip.safetensors holds what another model said: delete it" in other.err


def test_remote_shards_leave_no_copies(given: Path, cli: Cli, ray_here: RayHere) -> None:
    memory, ray_here.lock = fsspec.filesystem("memory"), given / "out" / ".clip.lock"
    assert cli(*words(given, given / "local")).code == 0
    try:
        for path in (given / "shards").glob("*.tar"):
            memory.pipe(f"/by-ray/{path.name}", path.read_bytes())
        assert cli(*words(given, given / "out", "--engine", "ray", shards="memory://by-ray")).code == 0
    finally:
        memory.rm("/by-ray", recursive=True)
    assert digests(given / "out") == digests(given / "local")


def test_what_goes_wrong_is_one_sentence_and_spoils_nothing(
    given: Path, cli: Cli, ray_here: RayHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = given / "out"
    ray_here.lock = out / ".clip.lock"
    (given / "shards" / "00001.tar").write_bytes(b"no tar at all" * 100)
    done = cli(*words(given, out, "--engine", "ray"))
    assert done.code == 1 and "00001.tar" in done.err and len(done.err.strip().splitlines()) == 1
    assert [path.name for path in out.glob("*.safetensors")] == ["00000.clip.safetensors"]
    (given / "shards" / "00001.tar").unlink()

    def elsewhere(worker: type, fn_constructor_kwargs: Any, **how: Any) -> RayHere:
        save_random_checkpoint(given / "painter", seed=1)
        return RayHere.map_batches(ray_here, worker, fn_constructor_kwargs, **how)

    monkeypatch.setattr(ray_here, "map_batches", elsewhere)
    done = cli(*words(given, out, "--engine", "ray"))
    assert done.code == 1 and "the model is not the same on all machines of the cluster" in done.err
    assert [path.name for path in out.glob("*.safetensors")] == ["00000.clip.safetensors"]


def test_shards_of_the_same_name_are_refused(given: Path, cli: Cli, ray_here: RayHere, monkeypatch: Any) -> None:
    (given / "shards").rename(given / "a")
    (given / "b").mkdir()
    (given / "b" / "00000.tar").write_bytes((given / "a" / "00001.tar").read_bytes())
    monkeypatch.setattr(cluster, "connected", None)
    for more in ((), ("--engine", "ray")):
        done = cli(*words(given, given / "out", *more, shards=f"{given}/{{a,b}}/00000.tar"))
        assert done.code == 1 and "00000.tar have the same name: encode them into different folders" in done.err
    assert not (given / "out").exists()


def test_without_ray_or_with_workers_alone_one_sentence_says_so(
    given: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    done = cli(*words(given, given / "out", "--engine", "ray"))
    assert (done.code, done.err) == (2, f"pinxit: --engine ray needs Ray: {install('ray')}.\n")
    done = cli(*words(given, given / "out", "--workers", 2))
    assert done.code == 2 and "--workers 2 is for --engine ray" in done.err
    assert not (given / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_process_is_replaced_and_nothing_is_lost_or_done_twice(given: Path, tmp_path: Path, cli: Cli) -> None:
    pytest.importorskip("ray", reason="pinxit[ray] is not installed")
    for number in range(3, 24):
        other = (given / "shards" / f"0000{number % 3}.tar").read_bytes()
        (given / "shards" / f"{number:05}.tar").write_bytes(other)
    local, out = cli(*words(given, given / "local")), tmp_path / "out"
    command = [sys.executable, "-m", "pinxit", *map(str, words(given, out, "--engine", "ray", "--workers", 2))]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    written: dict[Path, int] = {}
    killed: list[int] = []
    while running.poll() is None:
        for path in out.glob("*.safetensors"):
            written.setdefault(path, path.stat().st_mtime_ns)
        if written and not killed and len(written) < 20:
            killed = [pid for pid, said in below(running.pid) if "MapWorker" in said][:1]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    told, errors = running.communicate()
    assert running.returncode == 0, errors
    assert killed, "one was at work"
    left = {name: value for name, value in digests(out).items() if not name.endswith(".part")}
    assert left == digests(given / "local") and told == local.out.replace("local", "out")
    assert {path: path.stat().st_mtime_ns for path in written} == written, "what was done is not done again"

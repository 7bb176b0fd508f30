"""Which tests run which lines of the package, as coverage saw it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from coverage.numbits import numbits_any_intersection, numbits_to_nums, nums_to_numbits

MAP = ".mutate/coverage"  # under the root of the repository
OF_EVERYTHING = ("tests/test_defaults.py", "tests/cli/test_defaults.py", "tests/recipes/test_presets.py")
"""Tests that read the numbers of all modules, commands and presets, which are there without any line being run."""


@dataclass(frozen=True)
class Coverage:
    """A database of coverage in which every test has a context of its own, as `pytest --cov-context=test` makes it."""

    file: Path

    def tests_of(self, module: Path, lines: Iterable[int]) -> list[str]:
        """What pytest has to be given so that these lines of a module run; those that run least of the package first.

        Of lines that run when the module is imported all tests that use the module, and those that read all modules.
        Where a fixture runs them, all tests of its file, which may share what it made.
        """
        found = self._contexts(module, set(lines))
        first = [name for name in OF_EVERYTHING if "" in found and (self.file.parents[1] / name).is_file()]
        if "" in found:
            found |= self._contexts(module, None)
        tests: dict[str, int] = {}
        for context in found - {""}:
            test, _, phase = context.rpartition("|")
            name = test if phase == "run" else test.partition("::")[0]
            tests[name] = min(self._run_by[context], tests.get(name, sys.maxsize))
        whole = {name for name in tests if "::" not in name}
        chosen = [name for name in tests if name in whole or name.partition("::")[0] not in whole]
        return [*first, *sorted(chosen, key=lambda name: (tests[name], name))]

    def _contexts(self, module: Path, lines: set[int] | None) -> set[str]:
        """The contexts in which any of the `lines` (None: any at all) of a module ran."""
        wanted = None if lines is None else nums_to_numbits(lines)
        with sqlite3.connect(self.file) as base:
            rows = base.execute(
                "select context.context, numbits from line_bits join context on context.id = context_id "
                "join file on file.id = file_id where file.path = ?",
                (str(module),),
            )
            return {name for name, bits in rows if wanted is None or numbits_any_intersection(bits, wanted)}

    @cached_property
    def _run_by(self) -> dict[str, int]:
        """How many lines each context ran."""
        counts: dict[str, int] = {}
        with sqlite3.connect(self.file) as base:
            for name, bits in base.execute(
                "select context.context, numbits from line_bits join context on context.id = context_id"
            ):
                counts[name] = counts.get(name, 0) + len(numbits_to_nums(bits))
        return counts


def mapped(root: Path) -> Coverage:
    """What the tests of the repository run, found now unless no file has changed since it was found last.

    SystemExit where the tests fail.
    """
    place = root / MAP
    files = [path for folder in ("src", "tests") for path in (root / folder).rglob("*.py")]
    if not place.is_file() or place.stat().st_mtime < max(path.stat().st_mtime for path in files):
        place.parent.mkdir(exist_ok=True)
        fresh = place.with_name("fresh")
        print("running all tests under coverage", file=sys.stderr)
        call = [sys.executable, "-m", "pytest", "-q", "-n", "auto", f"--cov={root / 'src'}", "--cov-context=test"]
        about = os.environ | {"COVERAGE_FILE": str(fresh)}
        if subprocess.run([*call, "--cov-report="], cwd=root, env=about, check=False).returncode:
            raise SystemExit("the tests fail as it is")
        fresh.replace(place)
    return Coverage(place)
